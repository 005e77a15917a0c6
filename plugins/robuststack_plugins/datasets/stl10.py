"""STL-10."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import robuststack as rs
from robuststack_plugins.datasets.archived import Archived


class Stl10(Archived):
    """13,000 labelled colour images, 3 x 96 x 96, 10 classes; the last 50 training images of each class validate.

    The 100,000 unlabelled images are not used.
    """

    paper = "Coates et al., An Analysis of Single-Layer Networks in Unsupervised Feature Learning, AISTATS 2011"
    augmentation = rs.Augmentation(pad=4, flip=True)
    shape = (3, 96, 96)
    num_classes = 10
    sizes: ClassVar[dict[rs.Split, int]] = {"train": 4_500, "validation": 500, "test": 8_000}
    archive: ClassVar[rs.Download] = rs.Download(
        "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        "md5:91f7769df0f17e558f3565bffb0c7dfb",
        "stl10_binary.tar.gz",
    )

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        import numpy as np
        from torchvision.datasets import STL10

        from robuststack_plugins.datasets.downloads import obtain
        from robuststack_plugins.datasets.splits import hold_out_of_each_class

        class Labelled(STL10):  # type: ignore[misc]
            # Without the unlabelled images: 2.6 GB, which would be hashed at every load.
            train_list = STL10.train_list[:2]

        def opened() -> list[Any]:
            return [Labelled(str(folder), split=split) for split in ("train", "test")]

        train, test = (rs.Images(split.data, split.labels.astype(np.int64)) for split in obtain(self, folder, opened))
        return {**hold_out_of_each_class(train, self.size("validation") // self.num_classes), "test": test}
