"""Threads of a command sleep while they wait, so that two runs on one machine do not stop each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOOK = """
import os
print(sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(("OMP_W", "GOMP", "KMP"))))
"""
COMMAND = f"""
import atexit, os, sys
atexit.register(lambda: exec({LOOK!r}))
from robuststack.cli import main
main(["schema"])
"""


@pytest.mark.parametrize(
    ("before", "given", "then"),
    [
        ("", {}, "['OMP_WAIT_POLICY=passive']"),
        ("", {"OMP_WAIT_POLICY": "active"}, "['OMP_WAIT_POLICY=active']"),
        ("", {"GOMP_SPINCOUNT": "7"}, "['GOMP_SPINCOUNT=7']"),
        ("import sys, types; sys.modules['torch'] = types.ModuleType('torch')", {}, "[]"),
    ],
    ids=["by default", "as the user says", "as the user says it to gcc", "too late"],
)  # fmt: skip
def test_a_command_waits_passively_unless_the_user_says_otherwise(
    before: str, given: dict[str, str], then: str, tmp_path: Path
) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_W", "GOMP", "KMP"))}
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{COMMAND}"],
        env={**env, **given},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == then, done.stderr
