"""A bundle that several test modules read and none changes."""

from __future__ import annotations

from pathlib import Path

import bundled_run
import pytest
from bundled_run import BundledRun


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> BundledRun:
    """The tiny suite, run once a session."""
    return bundled_run.run(tmp_path_factory.mktemp("bundled"))


@pytest.fixture(scope="session")
def bundled(finished: BundledRun) -> Path:
    """Its bundle, with weights."""
    return finished.path
