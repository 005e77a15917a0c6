"""No memory is written past its end: convolutions, and every defense and network, on each instruction set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from checked import environment, instruction_sets, watched

from robuststack.hardware import cpu_name

HERE = Path(__file__).parent
PARTS = [] if os.environ.get("ROBUSTSTACK_MEMORY") == "full" else ["large"]
"""All defenses and networks take two minutes for each instruction set under guard pages."""


def ended(script: str, instruction_set: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", str(HERE / script), *options],
        env=environment(instruction_set),
        capture_output=True,
        text=True,
        check=False,
    )


def search(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "search_convolutions.py"), "--count", "4", "--processes", "2", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_write_past_the_end_is_seen_where_the_system_can_see_it() -> None:
    assert watched() or not sys.platform.startswith("linux")


def test_convolutions_as_the_host_places_them() -> None:
    done = search()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_every_defense_and_network(instruction_set: str) -> None:
    done = ended("train_and_attack.py", instruction_set, *PARTS)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr[-4000:]}"


def test_a_shortcut_that_is_not_guarded_is_seen() -> None:
    """The test above can fail: with AVX-512, a shortcut of 12 channels writes past the end unless it is guarded."""
    done = ended("train_and_attack.py", instruction_sets()[-1], "--unguarded", "large")
    faulty = "avx512" in cpu_name() or "amx" in cpu_name()
    assert (done.returncode < 0) == faulty, done.stdout + done.stderr
