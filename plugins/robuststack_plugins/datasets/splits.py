"""How validation images are held out from training images."""

from __future__ import annotations

import robuststack as rs


def hold_out_last(images: rs.Images, count: int) -> dict[rs.Split, rs.Images]:
    """The last `count` images validate, those before them train."""
    return {
        "train": rs.Images(images.images[:-count], images.labels[:-count]),
        "validation": rs.Images(images.images[-count:], images.labels[-count:]),
    }


def hold_out_of_each_class(images: rs.Images, count: int) -> dict[rs.Split, rs.Images]:
    """The last `count` images of each class validate, the others train; both keep their order."""
    import numpy as np

    labels = images.labels
    validates = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        validates[np.flatnonzero(labels == label)[-count:]] = True
    return {
        "train": rs.Images(images.images[~validates], labels[~validates]),
        "validation": rs.Images(images.images[validates], labels[validates]),
    }


def held_out(count: int, share: float) -> int:
    """How many of `count` training images, at least two, a share holds out: at least one, and never all."""
    return min(count - 1, max(1, round(count * share)))
