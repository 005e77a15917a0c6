"""Fixtures that several test modules share: a small and a tiny suite, each run once for the whole session."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

import robuststack as rs
from tiny_runs import TINY_SUITE, board, figures, run
from trained import SMALL_SUITE, Trained

# In a fresh environment every test process compiles what it imports, and all of them at the same time. Every second one
# begins at the other end, and they find much of each other's byte code.
if os.environ.get("PYTEST_XDIST_WORKER", "gw0")[-1] in "13579":
    for name in ("pandas", "scipy.stats", "sklearn.datasets", "sympy", "foolbox", "torch"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)

settings.register_profile("untimed", deadline=None)  # A busy machine is slow and nothing else.
settings.load_profile("untimed")


# Modules and test items are half a million objects that live to the end. By default Python looks for garbage among all of
# them after every few thousand new ones, which is some four percent of the time of a test run.
gc.set_threshold(20_000, 20, 20)


def pytest_collection_finish() -> None:
    """Leave what has been imported out of every later search for garbage."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let it go when Python ends; a library that counts its objects complains of those that are left."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _unknown_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests find no speed of this machine, which its user may have measured and which commands print."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Real models of four defenses. The test process that needs them first trains and attacks them, and each has a copy.
    Tests read them and change nothing."""
    folder = tmp_path_factory.mktemp("trained")
    suite, store, leaderboard = folder / "small.yaml", folder / "store", folder / "leaderboard"
    suite.write_text(SMALL_SUITE)
    own = tmp_path_factory.getbasetemp()
    made = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "made-once"
    with FileLock(f"{made}.lock"):
        assert not rs.run(suite, store=made, leaderboard=None, device="cpu").failed
    shutil.copytree(made, store)
    return Trained(suite, store, leaderboard, rs.run(suite, store=store, leaderboard=leaderboard, device="cpu"))


@pytest.fixture
def small_suite(tmp_path: Path) -> Path:
    """The small suite in a folder of its own, to be changed and run."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL_SUITE)
    return path


@pytest.fixture
def unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folding of batch norm, for tests that count forward passes or watch layers: it runs a model before it folds it."""
    from robuststack.layers.folding import Folding

    monkeypatch.setattr(Folding, "of", lambda self, view, images, **_: view)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The tiny suite in a folder of its own."""
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
