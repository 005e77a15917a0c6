"""A bundle of the small suite."""

from __future__ import annotations

from pathlib import Path

import pytest

import robuststack as rs
from trained import Trained


@pytest.fixture(scope="session")
def bundled(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small suite's bundle, with weights."""
    path = tmp_path_factory.mktemp("bundled") / "small.bundle"
    return rs.bundle(trained.suite, path, weights=True, store=trained.store, leaderboard=trained.leaderboard).path
