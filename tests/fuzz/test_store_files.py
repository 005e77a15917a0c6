"""Whatever is damaged in a store, the next run comes to the same figures, or is refused in one line that names the file."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import robuststack as rs
from damage import damaged_bytes, damaged_data, fuzzed, no_hang
from robuststack.cli import call
from robuststack.errors import JobFailed
from robuststack.running.store import Store
from stores import contents

SUITE = """
datasets: {name: tradeoff, options: {images: 60, test_images: 20, size: 8, classes: 3, noise: 0.1}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 2, batch_size: 30, attack: {name: pgd, options: {steps: 1, step: relative}}}
defenses: {name: float, points: {lambda_n: 1}}
attacks: {name: pgd, options: {steps: 1}}
evaluate: {draws: 2, block: 10}
measure: {latency: false}
precision: float32
device: cpu
threads: 1
"""


class Undamaged:
    """A suite, what its jobs come to, and a store in each state that a run can leave: finished, or killed in a job of a
    kind, with the checkpoint or the blocks of that job."""

    def __init__(self, folder: Path) -> None:
        self.suite = folder / "small.yaml"
        self.suite.write_text(SUITE)
        self.states = {kind: folder / kind for kind in ("train", "attack", "judge", "finished")}
        before: Path | None = None
        for kind, store in self.states.items():
            if before is not None:
                shutil.copytree(before, store)
            with stopped_in(kind):
                rs.run(self.suite, store=store, leaderboard=None)
            before = store
        self.jobs = contents(self.states["finished"])


@contextmanager
def stopped_in(kind: str) -> Iterator[None]:
    """Jobs of a kind do all their work and end without a result."""
    finish = Store.finish

    def stopped(store: Store, job: str, *facts: Any) -> dict[str, Any]:
        if job.startswith(f"{kind}-"):
            raise JobFailed("stopped")
        return finish(store, job, *facts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "finish", stopped)
        yield


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> Undamaged:
    return Undamaged(tmp_path_factory.mktemp("undamaged"))


def files(store: Path) -> list[str]:
    """What a store holds, without the marks of those who worked in it."""
    return sorted(
        str(path.relative_to(store))
        for path in store.rglob("*")
        if path.is_file() and path.name not in ("lock", "owner")
    )


def run_again(undamaged: Undamaged, store: Path) -> None:
    """The same figures at the end, or one line that names a file of the store."""
    said = io.StringIO()
    command = ["run", str(undamaged.suite), "--store", str(store), "--leaderboard", str(store.parent / "board")]
    with no_hang(), redirect_stderr(said), redirect_stdout(io.StringIO()):
        code = call(command)
    errors = [line for line in said.getvalue().splitlines() if line.startswith(("robuststack: error: ", "failed: "))]
    if errors:
        assert code in (1, 2)
        assert all(str(store) in line for line in errors), errors
        return
    assert code == 0, said.getvalue()
    assert contents(store) == undamaged.jobs


def damaged_store(undamaged: Undamaged, kind: str, name: str, content: bytes, folder: Path) -> Path:
    """A copy of a store in which one file has another content."""
    store = folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(undamaged.states[kind], store)
    (store / name).write_bytes(content)
    return store


@pytest.mark.parametrize("kind", ["train", "attack", "judge", "finished"])
def test_an_undamaged_store_goes_on_to_the_same_figures(undamaged: Undamaged, kind: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(undamaged.states[kind], store)
    assert {"train": "/checkpoints/", "attack": "/blocks/", "judge": "/blocks/"}.get(kind, "/result.json") in "".join(
        files(store)
    )
    run_again(undamaged, store)
    assert contents(store) == undamaged.jobs


@fuzzed
@given(st.data(), st.sampled_from(["train", "attack", "judge", "finished"]))
def test_any_bytes(undamaged: Undamaged, folder: Path, data: st.DataObject, kind: str) -> None:
    name = data.draw(st.sampled_from(files(undamaged.states[kind])))
    content = data.draw(damaged_bytes((undamaged.states[kind] / name).read_bytes()))
    run_again(undamaged, damaged_store(undamaged, kind, name, content, folder))


@fuzzed
@given(st.data(), st.sampled_from(["train", "finished"]))
def test_any_value_at_any_key(undamaged: Undamaged, folder: Path, data: st.DataObject, kind: str) -> None:
    name = data.draw(st.sampled_from([name for name in files(undamaged.states[kind]) if name.endswith(".json")]))
    said = data.draw(damaged_data(json.loads((undamaged.states[kind] / name).read_bytes())))
    run_again(undamaged, damaged_store(undamaged, kind, name, json.dumps(said).encode(), folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")
