"""What a dataset implements, and the records it exchanges with the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from robuststack.plugin.component import Component

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Augmentation:
    """How training images are changed at random: zero-padding and cropping back, and mirroring."""

    pad: int = 0
    flip: bool = False


@dataclass(frozen=True)
class Images:
    """One split: `images` uint8 [N, C, H, W] in 0..255 or float32 in [0, 1], and `labels` int64 [N], NumPy arrays."""

    images: np.ndarray
    labels: np.ndarray


Split = Literal["train", "validation", "test"]


class Dataset(Component):
    """A labelled set of images in three splits. `validation` is held out from training, never from test.

    A set that only scores finished models has no `train` and no `validation`: their sizes are 0, and `load` leaves them
    out.
    """

    kind = "dataset"
    eps: float = 8 / 255
    """The usual Linf radius for this dataset; a suite's `threat.eps` replaces it."""
    augmentation: Augmentation = Augmentation()
    nearly_black: bool = False
    """Whether images are meant that reach no more than 1/255. Otherwise they are refused: most such arrays hold 0 and 1 as
    bytes, or were divided by 255 twice."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """Identifies the data without reading it: a declared constant, which `load` checks."""
        raise NotImplementedError

    def size(self, split: Split) -> int:
        """How many images the split has, known without reading them; 0 if the data has no such split."""
        raise NotImplementedError

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes in the order of their labels; empty if they have none. Each row stores them."""
        return ()

    @property
    def notes(self) -> Sequence[str]:
        """What a reader should know of how the data was read, one line each: files that were left out, labels that never
        occur. They are printed before any compute, and each row stores them."""
        return ()

    def training_problem(self) -> str:
        """Why no model can be trained on the data, as the end of "the dataset ..."; empty if one can."""
        absent = [split for split in ("train", "validation") if self.size(split) == 0]
        return f"has no {absent[0]} images; it can only score finished models" if absent else ""

    def load(self, folder: Path) -> dict[Split, Images]:
        """All splits that have images. `folder` is the data folder, where downloads go.

        Raises:
            DatasetError: the data is absent and cannot be fetched, or is not what the fingerprint promises.
        """
        raise NotImplementedError

    def stand_in(self, count: int) -> dict[Split, Images]:
        """`count` images a split of this shape and number of classes, made of nothing: what `--smoke` runs on."""
        import numpy as np

        random = np.random.RandomState(0)
        labels = np.arange(count, dtype=np.int64) % self.num_classes
        return {
            split: Images(random.randint(256, size=(count, *self.shape)).astype(np.uint8), labels)
            for split in get_args(Split)
        }
