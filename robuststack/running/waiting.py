"""How threads of this process wait for each other. It holds for all of it, so only the command line asks for it."""

from __future__ import annotations

import os
import sys

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables of the environment by which users say how threads wait."""


def wait_passively() -> None:
    """Let threads that wait for others of this process sleep, unless the environment says otherwise.

    By default they spin, and take the processors from whatever else runs: `tests/benchmarks/two_runs.py` measures it.
    OpenMP reads the variable when torch is imported; after that nothing is changed.
    """
    if "torch" not in sys.modules and not any(variable in os.environ for variable in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "passive"
