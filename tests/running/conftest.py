"""The tiny suite, and what it comes to undisturbed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny_runs import TINY_SUITE, board, figures, run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_SUITE)
    return path


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The figures of the tiny suite, from a process that nothing disturbed."""
    suite = tmp_path_factory.mktemp("uninterrupted") / "tiny.yaml"
    suite.write_text(TINY_SUITE)
    done = run(suite)
    assert done.returncode == 0, done.stderr
    return figures(board(suite))
