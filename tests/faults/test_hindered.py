"""What hinders a run (a full disk, a store that cannot be written, a clock that jumps, a second run, too little memory,
a damaged file) costs one line: nothing that was finished is lost, and the next run comes to the same figures.

`ROBUSTSTACK_FAULTS` is how often each is tried (default 1), and its seed is the number of the try.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import TRIES

import forked
import robuststack as rs
from forked import Forked
from tiny_runs import board, figures, run, script

pytestmark = pytest.mark.faults

LONGEST_LINE = 1_000
"""Bytes; no error of these runs is longer."""


def one_line(done: Forked, *, codes: tuple[int, ...] = (0, 2)) -> str:
    """What a run said on standard error: nothing, or one line of an error."""
    lines = done.stderr.splitlines()
    assert done.returncode in codes, done.stderr
    assert len(lines) == (done.returncode == 2), done.stderr
    return lines[0] if lines else ""


def goes_on(tiny: Path, uninterrupted: str) -> list[str]:
    """The next run ends with the same figures; the notes that it prints."""
    assert not half_written(tiny), "something half written is left"
    done = run(tiny)
    assert done.returncode == 0, done.stderr
    assert figures(board(tiny)) == uninterrupted
    return [line for line in done.stdout.splitlines() if "again" in line]


def half_written(tiny: Path) -> list[Path]:
    store = tiny.parent / "store"
    return [path for path in store.rglob("*") if path.name.startswith((".", "partial"))] if store.is_dir() else []


@pytest.mark.parametrize("seed", TRIES)
def test_files_may_be_no_larger(seed: int, tiny: Path, uninterrupted: str) -> None:
    most = random.Random(seed).choice([0, 1, 100, 2_000, 10_000, 16_384, 20_000, 40_000])
    done = run(tiny, before=f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))")
    if most < LONGEST_LINE:  # What it says goes to a file here, which is cut off, too.
        assert done.returncode in (0, 2)
        assert "Traceback" not in done.stderr
    else:
        said = one_line(done)
        assert not said or "cannot write" in said
    goes_on(tiny, uninterrupted)


def in_namespace(tiny: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """A shell script that may mount what only it sees; `$RUN` runs the suite, `$STORE` is its store."""
    command = [sys.executable, "-m", "robuststack", "run", str(tiny), "--store", str(tiny.parent / "store")]
    names = {
        "RUN": " ".join([*command, "--leaderboard", str(tiny.parent / "board")]),
        "STORE": str(tiny.parent / "store"),
    }
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-ec", "\n".join(lines)],
        env={**os.environ, **names}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("seed", TRIES)
def test_the_disk_is_full(seed: int, tiny: Path, uninterrupted: str) -> None:
    (tiny.parent / "store").mkdir()
    size = 4 * random.Random(seed).randint(2, 60)
    done = in_namespace(
        tiny,
        f"mount -t tmpfs -o size={size}k none $STORE",
        "code=0; $RUN >/dev/null || code=$?",
        "if [ $code != 0 ]; then mount -o remount,size=64m $STORE; $RUN; fi",
        "exit $code",
    )
    lines = done.stderr.splitlines()
    assert done.returncode in (0, 2), done.stderr
    assert all(line.startswith("robuststack: error: cannot write") and "No space left" in line for line in lines), lines
    assert len(lines) == (done.returncode == 2)
    assert figures(board(tiny)) == uninterrupted


def test_a_store_that_can_only_be_read_serves_what_is_finished_and_is_one_line_for_what_is_not(
    tiny: Path, uninterrupted: str
) -> None:
    bind = "mount --bind $STORE $STORE; mount -o remount,ro,bind $STORE"
    (tiny.parent / "store").mkdir()
    done = in_namespace(tiny, bind, "$RUN")
    (line,) = done.stderr.splitlines()
    assert line.startswith("robuststack: error: cannot write")
    assert "Read-only file system" in line
    goes_on(tiny, uninterrupted)
    for path in (tiny.parent / "board").iterdir():
        path.unlink()
    done = in_namespace(tiny, bind, "$RUN")
    assert done.returncode == 0, done.stderr
    assert figures(board(tiny)) == uninterrupted


@pytest.mark.parametrize("seed", TRIES)
def test_the_clock_jumps(seed: int, tiny: Path, uninterrupted: str) -> None:
    jumping = (
        f"import os, random, signal, time\nclock, jump = time.time, random.Random({seed})\n"
        "time.time = lambda: clock() + jump.uniform(-1e8, 1e8)\n"
        f"left, sync = [{random.Random(seed).randint(2, 14)}], os.fsync\n"
        "def fsync(file):\n"
        "    left[0] -= 1\n"
        "    if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    sync(file)\n"
        "os.fsync = fsync"
    )
    assert run(tiny, before=jumping).returncode in (0, -signal.SIGKILL)
    for path in (tiny.parent / "store").rglob("*"):
        moment = random.Random(seed).uniform(0, 4e9)
        os.utime(path, (moment, moment))
    done = run(tiny, before=jumping.replace("left[0] == 0", "False"))
    assert done.returncode == 0, done.stderr
    assert figures(board(tiny)) == uninterrupted


@pytest.mark.parametrize("seed", TRIES)
def test_two_runs_share_a_store(seed: int, tiny: Path, uninterrupted: str) -> None:
    with forked.start(script(tiny, "--wait", "300")) as other:
        time.sleep(random.Random(seed).random())
        result = rs.run(tiny, store=tiny.parent / "store", leaderboard=tiny.parent / "board", wait=300)
        other.wait()
    assert other.returncode == 0, other.stderr
    assert figures(result.rows) == uninterrupted
    goes_on(tiny, uninterrupted)


@pytest.mark.parametrize("seed", TRIES)
def test_there_is_too_little_memory(seed: int, tiny: Path, uninterrupted: str) -> None:
    """The limit is what the process has now and a little more, so that it is met anywhere."""
    more = random.Random(seed).choice([0, 2, 4, 8, 16, 32, 64]) << 20
    limit = (
        "import resource\nhas = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (has + {more}, has + {more}))"
    )
    done = run(tiny, before=limit)
    # Inside a library of torch's that does not look, the process ends as if it had been killed.
    assert done.returncode in (0, 1, 2, -signal.SIGSEGV, -signal.SIGABRT), done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode <= 0 or "memory" in done.stderr, done.stderr
    goes_on(tiny, uninterrupted)
