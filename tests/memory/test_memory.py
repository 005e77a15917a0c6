"""No memory is written past its end: convolutions, and every defense and network, on each instruction set."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cases import known, known_with_amx
from checked import UNLIMITED, environment, guard_pages, has_amx, instruction_sets, watched

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def trained() -> subprocess.CompletedProcess[str]:
    """All defenses and networks, and a network whose narrow shortcuts are not guarded."""
    command = [sys.executable, "-X", "faulthandler", str(HERE / "train_and_attack.py"), "--planted", "--processes", "2"]
    return subprocess.run(command, env=environment(UNLIMITED), capture_output=True, text=True, check=False)


def test_a_write_past_the_end_is_seen_where_the_system_can_see_it() -> None:
    assert watched() or not sys.platform.startswith("linux")


def searched(*options: str) -> subprocess.CompletedProcess[str]:
    # Whether writes past an end are seen is a test of its own, above.
    command = [sys.executable, str(HERE / "search_convolutions.py"), "--trust", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_convolutions_as_the_host_computes_them() -> None:
    done = searched("--count", "10", "--processes", "2")
    assert done.returncode == 0, done.stdout + done.stderr


def test_convolutions_without_the_guard_are_seen_to_be_wrong() -> None:
    """The test above can fail: on a processor that computes bf16, each kind is at fault, in the ways that are tried."""
    if "AVX512_CORE_BF16" in instruction_sets() and guard_pages():
        done = searched("--known", "--unguarded", "--isa", "AVX512_CORE_BF16")
        count = len(list(known()))
        assert done.stdout.endswith(f"{count} cases on each of AVX512_CORE_BF16: {count} at fault\n"), done.stdout


def test_convolutions_with_amx_without_the_guard_are_seen_to_be_wrong() -> None:
    if has_amx() and guard_pages():
        done = searched("--known-with-amx", "--unguarded", "--isa", UNLIMITED)
        count = len(list(known_with_amx()))
        assert done.stdout.endswith(f"{count} cases on each of {UNLIMITED}: {count} at fault\n"), done.stdout


@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("part", ["slim", "defenses", "networks"])
def test_every_defense_and_network(instruction_set: str, part: str, trained: subprocess.CompletedProcess[str]) -> None:
    assert f"{instruction_set}: {part}: exit code 0 " in trained.stdout, f"{trained.stdout}{trained.stderr[-4000:]}"


@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_a_shortcut_that_is_not_guarded_is_seen(
    instruction_set: str, trained: subprocess.CompletedProcess[str]
) -> None:
    """The test above can fail: oneDNN's kernels for AVX2 and beyond read past the end."""
    faulty = instruction_sets() != [UNLIMITED]
    assert (f"{instruction_set}: planted: SIG" in trained.stdout) == faulty, trained.stdout
