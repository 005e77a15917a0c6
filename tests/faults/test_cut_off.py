"""A checkpoint or a block that a killed run left is cut off at a random place: it is made again, the run says so, and its
figures are the same.

`ROBUSTSTACK_FAULTS` is how often each is tried (default 1), and its seed is the number of the try.
"""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from small_runs import TRIES

import forked
from forked import run
from stores import contents
from tiny_runs import TINY_SUITE, script

pytestmark = pytest.mark.faults
SMALL_BLOCKS = ("--set", "evaluate.block=10")
LEFT = {"train": "checkpoints/epoch-*/*", "judge": "blocks/block-*", "attack": "blocks/block-*"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    suite = tmp_path_factory.mktemp("undisturbed") / "tiny.yaml"
    suite.write_text(TINY_SUITE)
    done = run(script(suite, *SMALL_BLOCKS))
    assert done.returncode == 0, done.stderr
    return suite.parent / "store"


@pytest.mark.parametrize("kind", LEFT)
@pytest.mark.parametrize("seed", TRIES)
def test_what_a_killed_run_left_is_cut_off(seed: int, kind: str, undisturbed: Path, tmp_path: Path) -> None:
    chance, store = random.Random(seed), tmp_path / "store"
    suite = tmp_path / "tiny.yaml"
    suite.write_text(TINY_SUITE)
    with forked.start(script(suite, *SMALL_BLOCKS)) as process:
        while process.running and not list(store.glob(f"{kind}/*/{LEFT[kind]}")):
            time.sleep(0.001)
        process.signal(signal.SIGKILL)
    left = sorted(store.glob(f"{kind}/*/{LEFT[kind]}"))
    for path in left:
        path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])
    done = run(script(suite, *SMALL_BLOCKS))
    assert done.returncode == 0, done.stderr
    assert ("again: " in done.stdout) == bool(left), done.stdout
    assert contents(store) == contents(undisturbed)
