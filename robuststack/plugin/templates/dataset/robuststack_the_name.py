"""The dataset `the_name`, a plugin for RobustStack."""

from __future__ import annotations

import hashlib

import robuststack as rs

SIZES = {"train": 600, "validation": 100, "test": 300}
SHA256 = "224214d9d7b7f03796883ae5685783d1067a35cbaeddaef82d728f602570f16c"


@rs.hookimpl
def register_dataset(register):
    register("the_name", "robuststack_the_name:TheName")


class TheName(rs.Dataset):
    """Stripes in four directions under noise: 1 x 8 x 8, four classes, made of integers from a fixed seed."""

    paper = ""  # Where the data is from: authors, title, venue.
    eps = 0.1
    shape, num_classes = (1, 8, 8), 4
    # What stands for the data in every job's id; `load` checks it. Put your data's own here: the error prints it.
    fingerprint = f"sha256:{SHA256}"

    def size(self, split):
        return SIZES[split]

    def load(self, folder):
        splits = {split: self._read(split) for split in SIZES}
        digest = hashlib.sha256(b"".join(split.images.tobytes() + split.labels.tobytes() for split in splits.values()))
        if digest.hexdigest() != SHA256:
            raise rs.DatasetError(f"{self.name}: the data has sha256 {digest.hexdigest()}, known is {SHA256}")
        return splits

    def _read(self, split):
        """Replace this by reading your files: images uint8 [N, C, H, W] or float32 in [0, 1], and labels int64 [N]."""
        import numpy as np

        random = np.random.RandomState(list(SIZES).index(split))
        labels = random.randint(4, size=SIZES[split]).astype("<i8")
        row, column = np.mgrid[:8, :8]
        stripes = np.stack([row, column, row + column, row - column]) // 2 % 2 * 100
        images = stripes[labels] + random.randint(156, size=(len(labels), 8, 8))
        return rs.Images(images[:, None].astype(np.uint8), labels)
