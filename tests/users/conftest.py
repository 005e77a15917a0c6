"""What the users' cases share: a working directory of their own, modules in it, and the call that scores a model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import robuststack as rs
from referee import DATASET, EPS

NUMBERS = count()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which holds the user's files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    return tmp_path


@pytest.fixture
def module(here: Path) -> Callable[[str], str]:
    """Writes a module with this source to the working directory; its name."""

    def write(source: str) -> str:
        name = f"users_{next(NUMBERS)}"
        (here / f"{name}.py").write_text(source)
        return name

    return write


@pytest.fixture
def score(here: Path) -> Callable[..., Any]:
    """The result of `evaluate` on the small data set."""

    def go(*overrides: str, attacks: Sequence[str] = ("fgsm",), **model: Any) -> Any:
        return rs.evaluate(
            dataset=DATASET, attacks=attacks, eps=EPS, device="cpu", store=here / "store",
            overrides=["measure.latency=false", "precision=float32", *overrides], **model,
        )  # fmt: skip

    return go
