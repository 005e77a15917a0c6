"""A suite for clusters, and what it comes to without a fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_runs import SUITE

from forked import run
from stores import contents


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "small.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="session")
def undisturbed(suite: Path) -> dict[str, Any]:
    """What each job comes to in one process."""
    store = suite.parent / "undisturbed"
    done = run(f"import robuststack as rs\nrs.run({str(suite)!r}, store={str(store)!r}, leaderboard=None)")
    assert done.returncode == 0, done.stderr
    return contents(store)
