"""The judging of what any attack returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robuststack.attacks.attacked_model import AttackedModel, Tally
from robuststack.attacks.ball import project
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.data import Data
from robuststack.engine.random_streams import generator, seeded
from robuststack.engine.runtime import Runtime
from robuststack.errors import PluginError
from robuststack.layers.condition import View
from robuststack.layers.folding import Folding
from robuststack.layers.full_float32 import full_float32
from robuststack.plugin.attack import Attack
from robuststack.plugin.threat import Threat

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Outcome:
    """What an attack job found: `correct` bool [draws, N], the images it was judged on, in host memory, where they were to
    be kept, and what the host checked."""

    correct: Tensor
    images: Tensor | None
    checks: dict[str, float | bool]


def evaluate(
    attacker: View,
    victim: View,
    data: Data,
    attack: Attack | None,
    threat: Threat | None,
    runtime: Runtime,
    *,
    seed: int,
    draws: int,
    batch_size: int,
    keep: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Attack each batch through `attacker` in the job's precision, and judge it on `victim` in float32.

    Without an attack this is clean accuracy. Judging uses noise of its own stream, never the attack's, and the same draws
    for every attack of a point. What the attack returns is clipped to the ball and to [0, 1]; a pixel that is not finite
    counts as the clean one, and is reported.
    """
    correct, images = [], []
    checks: dict[str, float | bool] = {"clipped": 0.0, "not_finite": 0.0, "state_kept": True, "calls": 0}
    gradients = torch.zeros(3)
    folding = Folding()
    right = done = 0.0
    for number, (x, y) in enumerate(data.batches(batch_size)):
        judged = x
        if attack is not None and threat is not None:
            # Images that are judged elsewhere are not done where they fool the attacker's model.
            final = attacker is victim
            judged, found, seen = _attacked(attacker, x, y, attack, threat, runtime, folding, seed, number, final)
            gradients += seen
            checks["clipped"] = max(float(checks["clipped"]), found["clipped"])
            checks["not_finite"] = float(checks["not_finite"]) + found["not_finite"]
            checks["calls"] += found["calls"]
            checks["state_kept"] = bool(checks["state_kept"]) and bool(found["state_kept"])
            if keep:
                images.append(judged.cpu())
        with seeded(seed, "judge", number):
            correct.append(judge(victim, judged, y, draws))
        if progress:
            right += float(correct[-1].float().mean(0).sum())
            done += len(y)
            progress(int(done), len(data), 100 * right / done)
    if gradients[0] > 0:
        checks["gradients_zero"] = 100 * float(gradients[1] / gradients[0])
        checks["gradients_not_finite"] = 100 * float(gradients[2] / gradients[0])
    return Outcome(torch.cat(correct, 1), torch.cat(images) if images else None, checks)


def _attacked(
    view: View,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    threat: Threat,
    runtime: Runtime,
    folding: Folding,
    seed: int,
    number: int,
    final: bool,
) -> tuple[Tensor, dict[str, float], Tensor]:
    """The attack's images, clipped; how far they had to be; and what was counted of its gradients."""
    with frozen_eval(view):
        tally = Tally(x.device)
        fast = AttackedModel(folding.of(view, x), runtime, tally, final=final)
        weights = [parameter._version for parameter in view.parameters()]
        before = [buffer.clone() for buffer in view.buffers()]
        modes = [module.training for module in view.modules()]
        try:
            with seeded(seed, "attack", number):
                source = generator(x.device, seed, "start", number)
                # Copies: an attack that writes into its input must move neither the ball nor the data of later jobs.
                with runtime.float32():
                    raw = attack.perturb(fast, x.clone(), y.clone(), threat, source).detach().float()
            changed = [(old != new).any() for old, new in zip(before, view.buffers(), strict=True)]
            # One look at the device, not one for each buffer.
            kept = modes == [module.training for module in view.modules()] and not (
                changed and bool(torch.stack(changed).any())
            )
        finally:
            for old, new in zip(before, view.buffers(), strict=True):
                new.copy_(old)
    if weights != [parameter._version for parameter in view.parameters()]:
        raise PluginError(f"attack {attack.name!r} breaks its contract: it changed the model's weights")
    if raw.shape != x.shape:
        shapes = f"{tuple(raw.shape)} for {tuple(x.shape)}"
        raise PluginError(f"attack {attack.name!r} breaks its contract: it returned images of shape {shapes}")
    finite = torch.isfinite(raw)
    raw = torch.where(finite, raw, x)
    clipped = project(raw, x, threat)
    distance = float((raw - clipped).abs().max())
    return (
        clipped,
        {"clipped": distance, "not_finite": float((~finite).sum()), "state_kept": float(kept), "calls": tally.calls},
        tally.gradients.cpu(),
    )


@torch.no_grad()
def judge(view: View, x: Tensor, y: Tensor, draws: int) -> Tensor:
    """Whether `view` is right on each image, in float32 and eval mode, on fresh noise each draw: bool [draws, N].

    Logits that are not finite are wrong: argmax would call them class 0.
    """
    with frozen_eval(view), full_float32(x.device):
        return torch.stack([_right(view(x), y) for _ in range(draws)])


def _right(logits: Tensor, y: Tensor) -> Tensor:
    return torch.isfinite(logits).all(1) & (logits.argmax(1) == y)
