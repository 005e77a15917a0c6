"""Attack and judging in one go, in memory: what chooses the best checkpoint, and what tests hold jobs against."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststack.engine.attack import Seen, attack_block, checks
from robuststack.engine.data import Data
from robuststack.engine.judge import judge_block, predictions
from robuststack.engine.runtime import Runtime
from robuststack.layers.condition import View
from robuststack.layers.folding import Folding
from robuststack.plugin.attack import Attack
from robuststack.plugin.threat import Threat


@dataclass(frozen=True)
class Evaluation:
    """`correct` bool [draws, N], the images it was judged on, in host memory, where they were to be kept, and what the host
    checked."""

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
) -> Evaluation:
    """Attack each batch through `attacker` in the runtime's precision, and judge it on `victim` in float32, as jobs do.

    Without an attack this is clean accuracy. Judging uses noise of its own stream, never the attack's.
    """
    correct: list[Tensor] = []
    images: list[Tensor] = []
    seen: list[Seen] = []
    folding = Folding()
    for number, (x, y) in enumerate(data.batches(batch_size)):
        judged = x
        if attack is not None and threat is not None:
            judged, block = attack_block(
                attacker, x, y, attack, threat, runtime,
                # Images that are judged elsewhere are not done where they fool the attacker's model.
                seed=seed, number=number, early_stop=attacker is victim, folding=folding,
            )  # fmt: skip
            seen.append(block)
            if keep:
                images.append(judged.cpu())
        labels = judge_block(victim, judged, draws, seed=seed, stream="judge", number=number)
        correct.append(labels == y)
    return Evaluation(torch.cat(correct, 1), torch.cat(images) if images else None, checks(seen))


def judge(view: View, x: Tensor, y: Tensor, draws: int) -> Tensor:
    """Whether `view` is right on each image, on fresh noise each draw: bool [draws, N]."""
    return predictions(view, x, draws) == y
