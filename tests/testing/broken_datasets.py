"""A dataset broken for each check of its kit."""

from __future__ import annotations

import numpy as np

import robuststack as rs
from sound_components import GoodDataset


def leaked(self, folder):
    splits = GoodDataset.load(self, folder)
    splits["train"].images[0] = splits["test"].images[0]
    return splits


def split(**parts):
    """Load the good splits, one of them changed: `train=(images, labels)`."""

    def load(self, folder):
        splits = GoodDataset.load(self, folder)
        for name, change in parts.items():
            splits[name] = rs.Images(*change(splits[name].images, splits[name].labels))
        return splits

    return load


def only(*names):
    """Load some of the good splits."""
    return lambda self, folder: {name: GoodDataset.load(self, folder)[name] for name in names}


def unfixed(self, folder):
    splits = GoodDataset.load(self, folder)
    splits["test"].labels[0] = next(COUNTER) % 3
    return splits


COUNTER = iter(range(1000))
DATASET = [
    ("it_declares_itself_without_reading", {"shape": (4, 4)}, r"shape is \(4, 4\), not \(C, H, W\)"),
    ("it_declares_itself_without_reading", {"num_classes": 1}, "num_classes is 1"),
    ("it_declares_itself_without_reading", {"fingerprint": ""}, "fingerprint is empty"),
    ("it_declares_itself_without_reading", {"fingerprint": property(lambda self: str(next(COUNTER)))},
     "fingerprint differs between two instances"),
    ("it_declares_itself_without_reading", {"eps": 8.0}, "eps is 8.0, outside"),
    ("it_declares_itself_without_reading", {"size": lambda self, split: 0}, "split test has 0 images"),
    ("it_declares_itself_without_reading", {"size": lambda self, split: 9 if split == "test" else -1},
     "split train has -1 images"),
    ("it_declares_itself_without_reading",
     {"size": lambda self, split: 9 * (split == "test"), "training_problem": lambda self: ""}, "training_problem is empty"),
    ("its_classes_and_notes_are_lines", {"classes": ("cat", "dog")}, "2 names for 3 classes"),
    ("its_classes_and_notes_are_lines", {"classes": (0, 1, 2)}, "0 is no text"),
    ("its_classes_and_notes_are_lines", {"notes": ["one\ntwo"]}, "has more than one line"),
    ("a_download_says_from_where_and_with_which_hash",
     {"downloads": lambda self: [rs.Download("ftp://x", "sha256:1", "x")]}, "x: 'ftp://x' is no address"),
    ("a_download_says_from_where_and_with_which_hash",
     {"downloads": lambda self: [rs.Download("https://x", "", "x")]}, "x: '' names no hash"),
    ("it_is_what_it_declares", {"load": split(train=lambda x, y: (x[:5], y))},
     r"train: images have shape \(5, 1, 4, 4\), declared is \(20, 1, 4, 4\)"),
    ("it_is_what_it_declares", {"load": split(test=lambda x, y: (x, y[:, None]))}, "test: labels have shape"),
    ("it_is_what_it_declares", {"load": split(test=lambda x, y: (x / 255, y))}, "test: images are float64"),
    ("it_is_what_it_declares", {"load": split(test=lambda x, y: (x.astype(np.float32), y))}, "pixels from .*, outside 0"),
    ("it_is_what_it_declares", {"load": split(test=lambda x, y: (x // 128, y))}, "pixels reach 1, and 255 is white"),
    ("it_is_what_it_declares", {"load": only("train", "validation")}, "those with images are"),
    ("it_is_what_it_declares", {"load": split(test=lambda x, y: (x, y + 1))}, "test: labels 1 to 3"),
    ("it_is_the_same_each_time", {"load": unfixed}, "test: labels differ between two loads"),
    ("test_images_are_not_trained_on", {"load": leaked}, "10% of the test images are in train"),
]  # fmt: skip
