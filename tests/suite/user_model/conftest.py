"""Fixtures: a folder of the user's, a suite with a model of theirs, a run of it, and a refusal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import robuststack as rs
from robuststack.plugin.registry import PluginSource, Registry, installed_sources
from user_models import SUITE, Plugin, Watch


@pytest.fixture
def registry() -> Registry:
    return Registry([*installed_sources(), PluginSource("given", "given", "1", Plugin)])


@pytest.fixture
def watch(registry: Registry) -> Watch:
    plugin = Watch()
    registry.hooks.register(plugin)
    return plugin


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which holds the user's files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def suite(here: Path) -> Callable[..., Path]:
    """The suite with this model, in a file."""

    def write(model: str, *, defense: str = "none", attacks: str = "fgsm", text: str = SUITE) -> Path:
        path = here / "mine.yaml"
        entry = f"{{name: {defense}, model: {{{model}}}}}"
        path.write_text(text.replace("DEFENSES", entry).replace("ATTACKS", attacks))
        return path

    return write


@pytest.fixture
def run(here: Path, suite: Callable[..., Path], registry: Registry, watch: Watch) -> Callable[..., Any]:
    def go(model: str, **more: str) -> Any:
        return rs.run(
            suite(model, **more), store=here / "store", leaderboard=here / "board", device="cpu", registry=registry
        )

    return go


@pytest.fixture
def refused(run: Callable[..., Any], watch: Watch, here: Path) -> Callable[..., str]:
    """The message that a suite with this model is refused with, before any job of it was started."""

    def go(model: str, **more: str) -> str:
        with pytest.raises(rs.RobustStackError) as caught:
            run(model, **more)
        assert watch.started == []
        assert not list(here.glob("store/*/*"))
        message = str(caught.value)
        assert len(message.splitlines()) == 1
        return message.replace(f"{here}{os.sep}", "")

    return go
