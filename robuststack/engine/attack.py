"""The adversarial images of one block, whatever attack makes them, and what the host saw of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robuststack.attacks.attacked_model import AttackedModel, Tally
from robuststack.attacks.ball import Ball
from robuststack.attacks.frozen_eval import frozen_eval, modes
from robuststack.attacks.mixture import Mixture, MixtureModel
from robuststack.engine.random_streams import generator, seeded
from robuststack.engine.runtime import Runtime
from robuststack.errors import PluginError
from robuststack.layers.condition import View
from robuststack.layers.folding import Folding, on_folded
from robuststack.plugin.attack import Attack
from robuststack.plugin.threat import Threat


@dataclass(frozen=True)
class Seen:
    """What the host saw of an attack on a block."""

    clipped: float
    """How far, in the threat's norm and the [0, 1] pixel range, an image had to be moved back into the ball."""
    not_finite: int
    """Pixels that were no numbers; the clean ones stand in for them."""
    state_kept: bool
    """Whether the model's mode and buffers were left alone; they were put back."""
    calls: int
    """Forward passes of the model."""
    table_draws: int
    """Noise draws that were looked up in the table of normal quantiles."""
    gradients: int
    """Of images that were not fooled yet."""
    gradients_zero: int
    gradients_not_finite: int
    folded: bool
    """Whether batch norms were folded into convolutions."""
    again: bool
    """Whether the block was attacked on the folded network, some image took a way through the network that folding cannot
    follow, and the block was attacked again on the plain one."""


def checks(blocks: Iterable[Seen]) -> dict[str, float | bool]:
    """What was seen of a whole attack: sums and maxima over its blocks, failing gradients in percent."""
    seen = list(blocks)
    gradients = sum(block.gradients for block in seen)
    failing = {
        "gradients_zero": sum(block.gradients_zero for block in seen),
        "gradients_not_finite": sum(block.gradients_not_finite for block in seen),
    }
    return {
        "clipped": max((block.clipped for block in seen), default=0.0),
        "not_finite": sum(block.not_finite for block in seen),
        "state_kept": all(block.state_kept for block in seen),
        "calls": sum(block.calls for block in seen),
        "table_draws": sum(block.table_draws for block in seen),
        "folded": sum(block.folded for block in seen),
        "again": sum(block.again for block in seen),
        **({name: 100 * count / gradients for name, count in failing.items()} if gradients else {}),
    }


def attack_block(
    attacker: View | Mixture,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    threat: Threat,
    runtime: Runtime,
    *,
    seed: int,
    number: int,
    early_stop: bool,
    folding: Folding | None = None,
) -> tuple[Tensor, Seen]:
    """Adversarial images float32 [N, C, H, W] for the block `number` (0-based), clipped to the ball and to [0, 1];
    those of a natural shift to [0, 1] alone.

    The attack runs in the job's precision, on random streams named by the block. A pixel that is not finite becomes the
    clean one. With `early_stop` an image that a deterministic view gets wrong may be done: it must then be judged on that
    view, unrounded; a mixture of views attacks to the end. `folding` remembers the model's structure from block to block.

    Raises:
        PluginError: the attack changed the model's weights, or returned no tensor, or images of another shape.
    """
    views = attacker.views if isinstance(attacker, Mixture) else (attacker,)
    view = views[0]  # All of them run one model.

    def perturbed(seen: Sequence[View]) -> tuple[Tensor, Tally, bool]:
        """The attack's images, what was counted, and whether it left the model's mode and buffers alone."""
        tally = Tally(x.device)
        models = [AttackedModel(part, runtime, tally, final=early_stop) for part in seen]
        attacked = MixtureModel(models, attacker.weights) if isinstance(attacker, Mixture) else models[0]
        before = [buffer.clone() for buffer in view.buffers()]
        mode_before = modes(view)
        written = True
        try:
            with seeded(seed, "attack", number):
                source = generator(x.device, seed, "start", number)
                # Copies: an attack that writes into its input must move neither the ball nor the data of later jobs.
                with runtime.float32():
                    raw = attack.perturb(attacked, x.clone(), y.clone(), threat, source)
                    if not isinstance(raw, Tensor):
                        raise PluginError(
                            f"attack {attack.name!r} breaks its contract: it returned {type(raw).__name__}, not a tensor"
                        )
                    raw = raw.detach().float()
            changed = [(old != new).any() for old, new in zip(before, view.buffers(), strict=True)]
            # One look at the device, not one for each buffer.
            written = bool(changed) and bool(torch.stack(changed).any())
        finally:
            # Only what differs: whatever is written, with its own values too, is taken for another weight by folding.
            for old, new in zip(before, view.buffers(), strict=True) if written else ():
                if not torch.equal(old, new):
                    new.copy_(old)
        return raw, tally, not written and mode_before == modes(view)

    with frozen_eval(view):
        folding = folding or Folding()
        # Verified for each block, so that its images do not depend on which blocks were made before it.
        folded = [folding.of(part, x[:2].clone(), verify=True) for part in views]
        weights = [(parameter._version, parameter.detach().clone()) for parameter in view.parameters()]
        (raw, tally, kept), used = on_folded(views, folded, perturbed)
    # By their values too: a network may clamp its weights in each forward pass.
    if any(
        parameter._version != version and not torch.equal(parameter, value)
        for parameter, (version, value) in zip(view.parameters(), weights, strict=True)
    ):
        raise PluginError(f"attack {attack.name!r} breaks its contract: it changed the model's weights")
    if raw.shape != x.shape:
        shapes = f"{tuple(raw.shape)} for {tuple(x.shape)}"
        raise PluginError(f"attack {attack.name!r} breaks its contract: it returned images of shape {shapes}")
    finite = torch.isfinite(raw)
    raw = torch.where(finite, raw, x)
    ball = Ball.of(x, threat)
    clipped = raw.clamp(0, 1) if attack.natural else ball.project(raw)
    gradients, zero, broken = (round(count) for count in tally.gradients.tolist())
    seen = Seen(
        clipped=float(ball.length(raw - clipped).max()),
        not_finite=int((~finite).sum()),
        state_kept=kept,
        calls=tally.calls,
        table_draws=tally.table.draws,
        gradients=gradients,
        gradients_zero=zero,
        gradients_not_finite=broken,
        folded=any(part is not plain for part, plain in zip(used, views, strict=True)),
        again=used is not folded,
    )
    return clipped, seen
