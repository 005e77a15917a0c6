"""What the tests and the committed table of coverage simulate: images, training seeds and judging draws of known worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class World:
    """A method: its robust accuracy (0 to 1), how images differ, and how its training seeds and noise draws do."""

    accuracy: float
    seed_sd: float = 0.0
    """Of a seed's figure, 0 to 1."""
    concentration: float = 1.0
    """Of the Beta distribution that images' chances come from: small, an image is nearly always right or always wrong."""
    draws: int = 1
    draw_sd: float = 0.0
    """Of a noise draw's figure: one draw is shared by all images."""

    def images(self, n: int, random: np.random.Generator) -> np.ndarray:
        """The chance of each image to be classified right, averaged over all else: [n]."""
        return random.beta(self.accuracy * self.concentration, (1 - self.accuracy) * self.concentration, size=n)

    def models(self, images: np.ndarray, seeds: int, random: np.random.Generator) -> list[list[np.ndarray]]:
        """Labels [draws, n] of the models of some training seeds, one attack each; the truth is 0."""
        models = []
        for _ in range(seeds):
            shift = random.normal(0, self.seed_sd) if self.seed_sd else 0.0
            # The part of an image's chance that is the model's own stays with the model, whatever the draw.
            chance = np.clip(images + shift, 0, 1)
            if self.draws == 1:
                right = random.random((1, len(images))) < chance
            else:
                own = random.beta(2 * chance + 1e-6, 2 * (1 - chance) + 1e-6)
                offsets = random.normal(0, self.draw_sd, size=(self.draws, 1)) if self.draw_sd else 0.0
                right = random.random((self.draws, len(images))) < np.clip(own + offsets, 0, 1)
            models.append([np.where(right, 0, 1)])
        return models


def truth(n: int) -> np.ndarray:
    return np.zeros(n, dtype=int)
