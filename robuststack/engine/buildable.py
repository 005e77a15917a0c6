"""Which defenses can be built on which architectures of a suite: each is built, and called once, without its weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.build import fitting, network
from robuststack.engine.memory import out_of_memory
from robuststack.engine.random_streams import seeded
from robuststack.errors import Problems, RobustStackError, SuiteError
from robuststack.plan.pair import Pair
from robuststack.plugin.architecture import Architecture
from robuststack.plugin.defense import Defense
from robuststack.suite.suite import Suite


def check_buildable(suite: Suite, pairs: Sequence[Pair], built: Sequence[Pair] = ()) -> list[Pair]:
    """Build every pair of defense and architecture that was not `built` before, and return those that can be built and
    that this machine has the memory for.

    Raises:
        SuiteError: for all that cannot be built, with its place in the suite and what can be.
    """
    tried = [_Tried(pair) for pair in pairs]
    problems = Problems()
    for attempt in tried:
        if attempt.pair not in built:
            attempt.build()
    for attempt in tried:
        if attempt.reason is not None:
            problems.add(_error(suite, attempt, tried))
    problems.raise_all()
    return [attempt.pair for attempt in tried if not attempt.too_heavy]


class _Tried:
    """A pair, and why it cannot be built, if it cannot. This machine may be a small one: if it is, where the suite is run
    tells."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.reason: str | None = None
        self.too_heavy = False

    def build(self) -> None:
        pair = self.pair
        try:
            with torch.device("meta"):
                _call(pair, pair.defense.build(pair.architecture, pair.dataset.shape, pair.dataset.num_classes))
        except RobustStackError as error:
            self.reason = str(error)
        except Exception:
            # Some of what fails without weights works with them: only that is a reason.
            self._build_with_weights()

    def _build_with_weights(self) -> None:
        pair = self.pair
        shape, classes = pair.dataset.shape, pair.dataset.num_classes
        try:
            with seeded("check"), fitting(pair.architecture, shape):
                _call(pair, network(pair.defense, pair.architecture, shape, classes))
        except RobustStackError as error:
            self.reason = str(error)
        except Exception as error:
            self.too_heavy = out_of_memory(error)
            self.reason = None if self.too_heavy else f"{type(error).__name__}: {error}"


@torch.no_grad()
def _call(pair: Pair, model: nn.Module) -> None:
    view = pair.defense.view(model.eval(), pair.defense.reference_setting())
    with frozen_eval(view):
        view(torch.zeros(2, *pair.dataset.shape))


def _error(suite: Suite, failed: _Tried, tried: Sequence[_Tried]) -> SuiteError:
    """The error of a pair: with the architecture's place in the suite if no defense can be built on it there."""
    pair = failed.pair
    built = [other.pair for other in tried if other.pair.images == pair.images and not other.reason]
    size = " x ".join(str(length) for length in pair.dataset.shape)
    names = f"defense {pair.defense.name!r} on architecture {pair.architecture.name!r}, images of {size}"
    on_it = {other.defense.name for other in built if _same(other.architecture, pair.architecture)}
    by_it = {other.architecture.name for other in built if _same(other.defense, pair.defense)}
    working = [
        *([f"defense {' or '.join(sorted(on_it))} on this architecture"] if on_it else []),
        *([f"this defense on architecture {' or '.join(sorted(by_it))}"] if by_it else []),
    ]
    ways = f"; works here: {', '.join(working)}" if working else ""
    variant = pair.cell.defense if on_it or pair.cell.architecture is None else pair.cell.architecture
    return suite.error(f"{names}: {failed.reason}{ways}", *variant.path)


def _same(first: Architecture | Defense, second: Architecture | Defense) -> bool:
    return first.resolved() == second.resolved()
