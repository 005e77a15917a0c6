"""A procedural set on which accuracy and robustness are at odds by construction (after Tsipras et al. 2019)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import robuststack as rs

if TYPE_CHECKING:
    import numpy as np

STREAM: dict[rs.Split, int] = {"train": 1, "validation": 2, "test": 3}
PATTERN_STREAM = 20190519
TILE = 4


class Tradeoff(rs.Dataset):
    """Images with a strong feature that is right most of the time and a weak one, under eps, that is right always.

    A pixel is 0.5 + robust_strength * R + nonrobust_strength * W + noise. R is a smooth pattern, one for each class, of
    the true class with probability `robust_accuracy` and of a random other class otherwise. W is a fine texture of
    +-1, one for each class, always of the true class. A model without robustness reads W and is nearly always right, until
    an adversary erases W (eps >= nonrobust_strength) or turns it into that of another class (eps >= twice that); a robust
    model has only R, which is right `robust_accuracy` of the time.
    """

    paper = "Tsipras et al., Robustness May Be at Odds with Accuracy, ICLR 2019, section 2.1"

    class Options(rs.Options):
        images: int = rs.option(4000, "Training images; a tenth as many validate.", ge=10)
        test_images: int = rs.option(1000, "Test images.", ge=10)
        size: int = rs.option(32, "Height and width in pixels; a multiple of 4.", ge=4, multiple_of=4)
        classes: int = rs.option(10, "Classes.", ge=2, le=100)
        robust_strength: rs.Number = rs.option(0.2, "Amplitude of the smooth pattern.", gt=0, le=0.5)
        robust_accuracy: float = rs.option(0.75, "How often the smooth pattern shows the true class.", ge=0, le=1)
        nonrobust_strength: rs.Number = rs.option(
            4 / 255, "Amplitude of the fine texture; at most eps / 2 for an adversary to rewrite it.", ge=0, le=0.5
        )
        noise: float = rs.option(0.05, "Standard deviation of the pixel noise.", ge=0)
        seed: int = rs.option(0, "Draws the patterns and the images.", ge=0)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3, self.options.size, self.options.size)

    @property
    def num_classes(self) -> int:
        return int(self.options.classes)

    @property
    def fingerprint(self) -> str:
        # The options are hashed beside this, and the generator is NumPy's legacy one, whose streams never change.
        return "procedural"

    def size(self, split: rs.Split) -> int:
        sizes = {
            "train": self.options.images,
            "validation": self.options.images // 10,
            "test": self.options.test_images,
        }
        return int(sizes[split])

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        return {split: self._draw(split) for split in STREAM}

    def patterns(self) -> tuple[np.ndarray, np.ndarray]:
        """(smooth, fine): one pattern a class each, float32 [K, 3, S, S] in [-1, 1]."""
        import numpy as np

        options = self.options
        random = np.random.RandomState([PATTERN_STREAM, options.seed])
        # Smooth: 2 x 2 patches of colour, which a strided convolution and global pooling can tell apart.
        coarse = _distinct(random, (options.classes, 3, 2, 2))
        smooth = coarse.repeat(options.size // 2, axis=2).repeat(options.size // 2, axis=3)
        # Fine: a tile whose every 2 x 2 block sums to zero, so that nothing of it survives at the smooth scale.
        block = _distinct(random, (options.classes, 3, TILE // 2, TILE // 2, 2))
        tile = np.zeros((options.classes, 3, TILE, TILE))
        tile[:, :, 0::2, 0::2], tile[:, :, 1::2, 1::2] = block[..., 0], -block[..., 0]
        tile[:, :, 0::2, 1::2], tile[:, :, 1::2, 0::2] = block[..., 1], -block[..., 1]
        fine = np.tile(tile, (1, 1, options.size // TILE, options.size // TILE))
        return smooth.astype(np.float32), fine.astype(np.float32)

    def _draw(self, split: rs.Split) -> rs.Images:
        import numpy as np

        options = self.options
        random = np.random.RandomState([STREAM[split], options.seed])
        count = self.size(split)
        labels = random.randint(options.classes, size=count)
        wrong = (labels + random.randint(1, options.classes, size=count)) % options.classes
        seen = np.where(random.random_sample(count) < options.robust_accuracy, labels, wrong)
        smooth, fine = self.patterns()
        images = 0.5 + options.robust_strength * smooth[seen] + options.nonrobust_strength * fine[labels]
        images += options.noise * random.standard_normal(images.shape)
        return rs.Images(images.clip(0, 1).astype(np.float32), labels.astype(np.int64))


def _distinct(random: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """Signs of which no two rows are alike: -1.0 or 1.0, of the given shape."""
    import numpy as np

    signs = random.choice([-1.0, 1.0], size=shape)
    while True:
        _, first = np.unique(signs.reshape(len(signs), -1), axis=0, return_index=True)
        again = np.setdiff1d(np.arange(len(signs)), first)
        if not len(again):
            return signs
        signs[again] = random.choice([-1.0, 1.0], size=(len(again), *shape[1:]))
