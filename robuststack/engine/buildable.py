"""Which defenses can be built on which architectures of a suite: each is built, and called once, without its weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import nn

from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.build import fitting, network
from robuststack.engine.memory import out_of_memory
from robuststack.engine.random_streams import seeded
from robuststack.errors import Problems, RobustStackError, SuiteError
from robuststack.plugin.architecture import Architecture
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.defense import Defense
from robuststack.suite.cell import Cell
from robuststack.suite.suite import Suite


def check_buildable(suite: Suite, cells: Iterable[Cell]) -> None:
    """Build every defense on every architecture that the cells combine, for the images of their dataset.

    Raises:
        SuiteError: for all that cannot be built, with its place in the suite and what can be.
    """
    tried: dict[str, _Pair] = {}
    for cell in cells:
        if cell.architecture is not None:
            pair = _Pair(cell, cell.architecture.component, cell.defense.component, cell.dataset.component)
            if pair.key not in tried:
                tried[pair.key] = pair
                pair.reason = _reason(pair)
    problems = Problems()
    for pair in tried.values():
        if pair.reason is not None:
            problems.add(_error(suite, pair, tried.values()))
    problems.raise_all()


@dataclass
class _Pair:
    """A defense on an architecture, for the images of a dataset; `reason` is why it cannot be built, if it cannot."""

    cell: Cell
    architecture: Architecture
    defense: Defense
    dataset: Dataset
    reason: str | None = field(default=None)

    @property
    def images(self) -> str:
        return json.dumps([self.dataset.shape, self.dataset.num_classes])

    @property
    def key(self) -> str:
        return json.dumps([self.architecture.resolved(), self.defense.resolved(), self.images], sort_keys=True)


def _reason(pair: _Pair) -> str | None:
    shape, classes = pair.dataset.shape, pair.dataset.num_classes
    try:
        with torch.device("meta"):
            _call(pair, pair.defense.build(pair.architecture, shape, classes))
    except RobustStackError as error:
        return str(error)
    except Exception:
        # Some of what fails without weights works with them: only that is a reason.
        return _reason_with_weights(pair)
    return None


def _reason_with_weights(pair: _Pair) -> str | None:
    shape, classes = pair.dataset.shape, pair.dataset.num_classes
    try:
        with seeded("check"), fitting(pair.architecture, shape):
            _call(pair, network(pair.defense, pair.architecture, shape, classes))
    except RobustStackError as error:
        return str(error)
    except Exception as error:
        # This machine may be a small one; where the suite is run tells.
        return None if out_of_memory(error) else f"{type(error).__name__}: {error}"
    return None


@torch.no_grad()
def _call(pair: _Pair, model: nn.Module) -> None:
    view = pair.defense.view(model.eval(), pair.defense.reference_setting())
    with frozen_eval(view):
        view(torch.zeros(2, *pair.dataset.shape))


def _error(suite: Suite, pair: _Pair, pairs: Iterable[_Pair]) -> SuiteError:
    """The error of a pair: with the architecture's place in the suite if no defense can be built on it there."""
    alike = [other for other in pairs if other.images == pair.images]
    size = " x ".join(str(length) for length in pair.dataset.shape)
    names = f"defense {pair.defense.name!r} on architecture {pair.architecture.name!r}, images of {size}"
    on_it = {other.defense.name for other in alike if _same(other.architecture, pair.architecture) and not other.reason}
    by_it = {other.architecture.name for other in alike if _same(other.defense, pair.defense) and not other.reason}
    working = [
        *([f"defense {' or '.join(sorted(on_it))} on this architecture"] if on_it else []),
        *([f"this defense on architecture {' or '.join(sorted(by_it))}"] if by_it else []),
    ]
    ways = f"; works here: {', '.join(working)}" if working else ""
    variant = pair.cell.defense if on_it or pair.cell.architecture is None else pair.cell.architecture
    return suite.error(f"{names}: {pair.reason}{ways}", *variant.path)


def _same(first: Architecture | Defense, second: Architecture | Defense) -> bool:
    return first.resolved() == second.resolved()
