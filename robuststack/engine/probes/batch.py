"""Whether what a model says of an image depends on that image alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robuststack.attacks.margins import names_class
from robuststack.engine.fitted import AGREEMENT
from robuststack.engine.model_check import QUANTISED, quantises
from robuststack.engine.probes.probed import Probed, difference

IMAGES = 64
SIZES = (1, 7)
"""Images in a batch, beside all of them."""


def look(subject: Probed) -> dict[str, Any]:
    """`images` of the check's own, in batches of `SIZES` and all together.

    `sizes`: for each size of a deterministic model's batches, how many images get another label than in one batch of all,
    though their margin is above rounding. `neighbours`: of how many that is true if their neighbours in the batch are
    replaced by others, at the same place, on the same noise. `largest` is how far logits are apart, relative to the largest
    logit. `repeat` is that of the same batch on the same noise: above rounding, neighbours cannot be told from noise.
    """
    images = subject.x[:IMAGES]
    rounding = QUANTISED if quantises(subject.view.model) else AGREEMENT
    whole = _in_batches(subject, images, len(images))
    sizes: dict[str, int] = {}
    apart = []
    if not subject.view.stochastic:
        for size in SIZES:
            logits = _in_batches(subject, images, size)
            sizes[str(size)] = _unlike(logits, whole, rounding)
            apart.append(difference(logits, whole))
    fixed = torch.arange(len(images), device=images.device) % 2 == 0
    # The images at every other place move on by one such place, to neighbours that they did not have.
    others = torch.where(fixed[:, None, None, None], images, images.roll(2 * (len(images) // 4) or 1, 0))
    neighbours = 0
    for size in (max(SIZES), len(images)):
        before, after = (_in_batches(subject, batch, size)[fixed] for batch in (images, others))
        neighbours = max(neighbours, _unlike(after, before, rounding))
        apart.append(difference(after, before))
    return {
        "images": len(images),
        "sizes": sizes,
        "neighbours": neighbours,
        "largest": max(apart),
        "repeat": difference(_in_batches(subject, images, len(images)), whole),
    }


def _in_batches(subject: Probed, images: Tensor, size: int) -> Tensor:
    """The logits [N, K] of the images in batches of a size, on the same noise whatever they are."""
    with subject.still(), subject.noise():
        batches = [images[start : start + size].clone() for start in range(0, len(images), size)]
        return torch.cat([subject.view(batch).float() for batch in batches])


def _unlike(logits: Tensor, reference: Tensor, rounding: float) -> int:
    """How many images get another label than in the reference, where the margin is above rounding in both."""
    labels, expected = (_labels(rows) for rows in (logits, reference))
    largest = reference[reference.isfinite()].abs().max() if bool(reference.isfinite().any()) else 0.0
    sure = torch.minimum(_margin(logits), _margin(reference)) > rounding * largest
    return int(((labels != expected) & sure).sum())


def _labels(logits: Tensor) -> Tensor:
    return torch.where(names_class(logits), logits.argmax(1), -1)


def _margin(logits: Tensor) -> Tensor:
    """By how much the largest logit is above the second [N]; infinite where the row names no class."""
    top = logits.topk(2).values
    return torch.where(names_class(logits), top[:, 0] - top[:, 1], torch.inf)
