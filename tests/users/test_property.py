"""What holds for every network: its figures are those of a plain float32 loop, again in a second run, and changed weights
change what is stored. ROBUSTSTACK_NETWORKS=2000 tries so many networks; ROBUSTSTACK_FIRST=n begins at another."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sources import stored

from grammar import Network, make
from referee import figures
from robuststack.engine import fitted, workspace
from robuststack.layers import folded_layers, folding

NETWORKS = int(os.environ.get("ROBUSTSTACK_NETWORKS", "8"))
FIRST = int(os.environ.get("ROBUSTSTACK_FIRST", "0"))


@pytest.fixture
def holds(module: Callable[[str], str], score: Callable[..., Any], here: Path) -> Callable[[int], None]:
    """Asserts all of it of the network of a seed."""

    def scored(name: str) -> tuple[float, float]:
        (row,) = score("evaluate.block=29", python=f"{name}:build").rows
        return row.ca.value, row.ra["FGSM"].value

    def check(seed: int) -> None:
        name = module(f"from grammar import Network, make\ndef build():\n    return make({seed})\n")
        first = scored(name)
        assert first == pytest.approx(figures(make(seed)), abs=1e-3)
        before = stored(here)
        assert scored(name) == first
        assert stored(here) == before
        np.save("scale.npy", np.float32(-1.0))
        changed = scored(name)
        assert changed == pytest.approx(figures(make(seed)), abs=1e-3)
        assert all(stored(here)[job] != time for job, time in before.items())
        (here / "scale.npy").unlink()

    return check


@pytest.mark.parametrize("seed", range(FIRST, FIRST + NETWORKS))
def test_every_network_is_scored_as_a_plain_loop_scores_it(seed: int, holds: Callable[[int], None]) -> None:
    holds(seed)


def _wrong_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    before = folded_layers.FoldedConv2d.fold

    def fold(self: folded_layers.FoldedConv2d) -> None:
        before(self)
        self.bias = -self.bias

    monkeypatch.setattr(folded_layers.FoldedConv2d, "fold", fold)
    monkeypatch.setattr(folding, "AGREEMENT", 1e6)


def _in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "clone", _kept(torch.Tensor.clone))


def _kept(clone: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`clone` that gives a fitted model the engine's own images."""
    import sys

    def go(self: torch.Tensor, **options: Any) -> torch.Tensor:
        caller = sys._getframe(1).f_code
        fits = caller.co_name == "__call__" and caller.co_filename == fitted.__file__
        return self.view_as(self) if fits else clone(self, **options)

    return go


def _stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "object_hash", lambda model: "the same")


SILENT = [seed for seed in range(60) if Network(seed).entry == "no grad"]
"""Those that write into their input where autograd does not notice."""


@pytest.mark.parametrize(("plant", "seeds"), [(_wrong_fold, range(12)), (_in_place, SILENT), (_stale, range(1))])
def test_a_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    seeds: Sequence[int],
    holds: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        list(map(holds, seeds))
