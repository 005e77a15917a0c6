"""The gradients that an attack climbs by."""

from __future__ import annotations

from typing import Any

import torch

from robuststack.attacks.attacked_model import AttackedModel, Tally
from robuststack.attacks.ball import Ball
from robuststack.attacks.eot import loss_gradient
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.attacks.losses import cross_entropy
from robuststack.engine.probes.probed import Probed
from robuststack.engine.random_streams import generator
from robuststack.plugin.attack import GradientAttack


def look(subject: Probed) -> dict[str, Any]:
    """The attack's gradients, over as many draws as it takes, at the clean images and at a uniform point of each ball.

    Of the images that are not fooled there: how many gradients were `counted`, how many of those were `zero` or
    `not_finite`. At a randomised point every gradient is taken twice, on independent noise: `cosine` is the median cosine
    of the two, 0 if one has no direction; None at a deterministic point, and if every image is fooled.
    """
    attack = subject.attack
    assert attack is not None
    loss = attack.loss if isinstance(attack, GradientAttack) else cross_entropy
    view, stochastic = subject.view, subject.view.stochastic
    tally = Tally(subject.x.device)
    model = AttackedModel(view, subject.runtime, tally)
    draws = attack.draws(stochastic)
    cosines = []
    with frozen_eval(view), subject.runtime.float32():
        for number, (x, y) in enumerate(subject.blocks()):
            ball = Ball.of(x, subject.spec.threat)
            start = ball.project(ball.random(generator(x.device, subject.spec.seed, "gradients", number)))
            for place, images in enumerate((x, start)):
                pair = []
                for twin in range(2 if stochastic else 1):
                    with subject.noise(number, place, twin):
                        gradient, logits = loss_gradient(model, images, y, loss, draws, attack.average)
                    pair.append((gradient.flatten(1), logits.argmax(1) == y))
                if stochastic:
                    (first, right), (second, also) = pair
                    cosine = torch.nn.functional.cosine_similarity(_unit(first), _unit(second))
                    cosines.append(cosine[right & also])
    counted, zero, broken = (round(count) for count in tally.gradients.tolist())
    known = torch.cat(cosines) if cosines else torch.empty(0)
    return {
        "counted": counted,
        "zero": zero,
        "not_finite": broken,
        "draws": draws,
        "cosine": float(known.median()) if len(known) else None,
    }


def _unit(gradient: torch.Tensor) -> torch.Tensor:
    """Gradients [N, D] by their largest entry, so that no square vanishes."""
    largest = gradient.abs().amax(1, keepdim=True)
    return torch.where(largest > 0, gradient / largest, 0.0)
