"""What `check` builds: a defense on an architecture, for the images of a dataset."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from robuststack.plugin.architecture import Architecture
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.defense import Defense
from robuststack.suite.cell import Cell


@dataclass(frozen=True)
class Pair:
    """A defense on an architecture, with the first cell of a suite that combines them."""

    cell: Cell
    architecture: Architecture
    defense: Defense
    dataset: Dataset

    @property
    def images(self) -> str:
        """The shape of the images and the number of their classes."""
        return json.dumps([self.dataset.shape, self.dataset.num_classes])

    @property
    def key(self) -> str:
        """What decides what is built, beside the code."""
        return json.dumps([self.architecture.resolved(), self.defense.resolved(), self.images], sort_keys=True)


def pairs_of(cells: Iterable[Cell]) -> list[Pair]:
    """Each pair of the cells once; a model that the user brings has no architecture of its own, and is none."""
    pairs: dict[str, Pair] = {}
    for cell in cells:
        if cell.architecture is not None:
            pair = Pair(cell, cell.architecture.component, cell.defense.component, cell.dataset.component)
            pairs.setdefault(pair.key, pair)
    return list(pairs.values())
