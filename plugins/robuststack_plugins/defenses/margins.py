"""The grid search of MixedNUTS: which transformation tells right from wrong answers by their margins."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robuststack.layers.mixing import nonlinear

STEPS = 8
SCALES = torch.logspace(-1.30103, 0.69897, STEPS).tolist()
"""s from 0.05 to 5; these ranges are those of the code for CIFAR-10."""
POWERS = torch.linspace(1, 4, STEPS).tolist()
SHIFTS = torch.linspace(-1.1, 0, STEPS).tolist()
PLAIN_KEPT = 95.0
"""What the code keeps where it mixes without the transformation, for CIFAR-10 and ImageNet."""
SATURATED = 1 - 3e-6
"""A cutoff above this leaves no digits to compare margins by."""


@dataclass(frozen=True)
class Transformation:
    """s, p and c; the alpha at which they keep the robust accuracy that was asked for; and the alpha at which the
    untransformed network would keep `PLAIN_KEPT` percent of it."""

    scale: float
    power: float
    shift: float
    mix: float
    plain_mix: float


def search(right: Tensor, wrong: Tensor, kept: float) -> Transformation | None:
    """The transformation under which the fewest of the `wrong` answers have a margin of at least the cutoff, that which
    `kept` percent of the `right` ones reach; of several the one with the largest cutoff, at which 1 - alpha is largest.

    GELU falls before it rises. If c moves a logit that is hardly above the mean into its dip, as it can with few classes,
    another class comes out on top. Such an answer is right no more: its margin counts as negative.

    Args:
        right: logits [N, K] of attacked images that the robust network gets right.
        wrong: logits [M, K] of clean images that it gets wrong.
        kept: percent, in (0, 100].

    Returns:
        None if there are no answers of a kind.
    """
    if not len(right) or not len(wrong):
        return None
    right, wrong = right.double(), wrong.double()
    labels = right.argmax(1, keepdim=True)
    plain = _cutoff(right, labels, PLAIN_KEPT)
    best: tuple[bool, float, float] | None = None
    chosen = None
    for scale in SCALES:
        for power in POWERS:
            for shift in SHIFTS:
                parameters = [right.new_tensor(value) for value in (scale, power, shift)]
                cutoff = _cutoff(nonlinear(right, *parameters), labels, kept)
                if cutoff < 0:  # At c = 0 no label changes, so some are left.
                    continue
                confident = _margins(nonlinear(wrong, *parameters).softmax(1)) >= min(cutoff, 1 - 1e-9)
                rank = (cutoff >= SATURATED, float(confident.double().mean()), -cutoff)
                if best is None or rank < best:
                    best, chosen = rank, Transformation(scale, power, shift, _mix(cutoff), _mix(plain))
    return chosen


def _margins(probabilities: Tensor) -> Tensor:
    top = probabilities.topk(2, 1).values
    return top[:, 0] - top[:, 1]


def _cutoff(logits: Tensor, labels: Tensor, kept: float) -> float:
    """What the margins of `kept` percent of the logits [N, K] reach, for the labels [N, 1] that were right."""
    probabilities = logits.softmax(1)
    right = probabilities.gather(1, labels).squeeze(1)
    others = probabilities.scatter(1, labels, -torch.inf).amax(1)
    return float(torch.quantile(right - others, 1 - kept / 100))


def _mix(cutoff: float) -> float:
    """The alpha with (1 - alpha) / alpha = cutoff."""
    return 1 / (1 + cutoff)
