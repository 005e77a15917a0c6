"""The handwritten digits inside scikit-learn: small, real, and there without a download."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import robuststack as rs

SIZES: dict[rs.Split, int] = {"train": 1100, "validation": 197, "test": 500}
SPLIT_SEED = 0
SHA256 = "8b3b6ae90863430bdef06a3f7d1ec2f6a905a53d3375655b18cf63780ad98772"


class Digits(rs.Dataset):
    """1,797 handwritten digits, 1 x 8 x 8, embedded in scikit-learn; split 1,100 / 197 / 500 with a fixed seed."""

    paper = "Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998"
    eps = 0.2
    num_classes = 10
    fingerprint = f"sha256:{SHA256}"

    class Options(rs.Options):
        channels: Literal[1, 3] = rs.option(1, "3 repeats the one channel, for networks that take colour.")

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.options.channels, 8, 8)

    def size(self, split: rs.Split) -> int:
        return SIZES[split]

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        import numpy as np
        from sklearn.datasets import load_digits

        data = load_digits()
        images = (data.images / 16).astype(np.float32)[:, None]
        labels = data.target.astype(np.int64)
        digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
        if digest != SHA256:
            raise rs.DatasetError(f"digits: scikit-learn's copy is not the known one: sha256 {digest}, not {SHA256}")
        # The legacy generator's streams never change between NumPy versions.
        order = np.random.RandomState(SPLIT_SEED).permutation(len(labels))
        splits: dict[rs.Split, rs.Images] = {}
        for split, size in SIZES.items():
            rows, order = order[:size], order[size:]
            splits[split] = rs.Images(images[rows].repeat(self.options.channels, axis=1), labels[rows])
        return splits
