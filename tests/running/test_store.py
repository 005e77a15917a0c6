"""The store: what is finished is whole, what is damaged is named, what another run holds is left alone."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from robuststack.errors import StoreError
from robuststack.running.atomic_files import write_text
from robuststack.running.store import MARKER, Block, Busy, Store

JOB = "train-0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def finish(store: Store, digest: str = "d", job: str = JOB) -> None:
    store.finish(job, {"digest": digest, "value": 1}, {"model.bin": b"weights"})


def test_a_job_is_done_when_its_result_stands_with_the_same_digest(store: Store) -> None:
    assert not store.has(JOB, "d")
    finish(store)
    assert store.has(JOB, "d")
    assert not store.has(JOB, "another source")
    assert store.read(JOB, "model.bin") == b"weights"


def test_a_job_whose_file_is_gone_is_not_done(store: Store) -> None:
    finish(store)
    (store.folder(JOB) / "model.bin").unlink()
    assert not store.has(JOB, "d")


def test_a_changed_file_is_refused_by_name(store: Store) -> None:
    finish(store)
    (store.folder(JOB) / "model.bin").write_bytes(b"weight")
    with pytest.raises(StoreError, match=r"model\.bin is truncated or not the file .* delete .* to run the job again"):
        store.read(JOB, "model.bin")


def test_a_result_that_is_no_json_is_refused_by_name(store: Store) -> None:
    finish(store)
    (store.folder(JOB) / "result.json").write_text("{half")
    with pytest.raises(StoreError, match=r"result\.json cannot be read"):
        store.has(JOB, "d")


def test_a_folder_with_other_things_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="is not a RobustStack store; name an empty or absent folder"):
        Store(tmp_path)


def test_another_run_may_be_making_the_same_store(tmp_path: Path) -> None:
    (tmp_path / f".{MARKER}.4711").write_text("{")
    Store(tmp_path)
    assert (tmp_path / MARKER).is_file()


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text('{"schema": 99}')
    with pytest.raises(StoreError, match="schema 99; this version reads 2"):
        Store(tmp_path)


def test_a_store_of_an_earlier_version_is_one_line_with_the_way_on_and_stays_whole(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text('{"schema": 1}')
    (tmp_path / "attack").mkdir()
    with pytest.raises(StoreError) as error:
        Store(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: a store of schema 1, written by an earlier version; this one writes schema 2: name another folder"
        " with --store, where all results are made anew (nothing was deleted)"
    )
    assert sorted(os.listdir(tmp_path)) == ["attack", MARKER]


def test_looking_into_an_absent_store_creates_nothing(tmp_path: Path) -> None:
    assert not Store(tmp_path / "absent", create=False).has(JOB, "d")
    assert not (tmp_path / "absent").exists()


def test_the_last_checkpoint_replaces_the_one_before(store: Store) -> None:
    for epoch in (1, 2):
        store.save_checkpoint(JOB, epoch, {"model": b"%d" % epoch}, {"digest": "d", "history": [epoch]})
    checkpoint = store.load_checkpoint(JOB, "d")
    assert checkpoint is not None
    assert (checkpoint.epoch, checkpoint.files["model"], checkpoint.meta["history"]) == (2, b"2", [2])
    assert [entry.name for entry in (store.folder(JOB) / "checkpoints").iterdir()] == ["epoch-00002"]


def test_a_checkpoint_of_other_source_code_is_not_resumed(store: Store) -> None:
    store.save_checkpoint(JOB, 1, {"model": b"1"}, {"digest": "old"})
    assert store.load_checkpoint(JOB, "new") is None


def test_a_truncated_checkpoint_is_refused_by_name(store: Store) -> None:
    store.save_checkpoint(JOB, 1, {"model": b"weights"}, {"digest": "d"})
    (store.folder(JOB) / "checkpoints" / "epoch-00001" / "model").write_bytes(b"wei")
    with pytest.raises(StoreError, match=r"epoch-00001/model is truncated or not ours \(its hash differs\)$"):
        store.load_checkpoint(JOB, "d")


def test_a_checkpoint_that_was_being_written_when_the_run_died_does_not_count(store: Store) -> None:
    store.save_checkpoint(JOB, 1, {"model": b"1"}, {"digest": "d"})
    partial = store.folder(JOB) / "checkpoints" / "partial-1"
    partial.mkdir()
    (partial / "model").write_bytes(b"ha")
    checkpoint = store.load_checkpoint(JOB, "d")
    assert checkpoint is not None
    assert checkpoint.epoch == 1
    store.save_checkpoint(JOB, 2, {"model": b"2"}, {"digest": "d"})
    assert not partial.exists()


def test_finishing_a_job_removes_its_checkpoints(store: Store) -> None:
    store.save_checkpoint(JOB, 1, {"model": b"1"}, {"digest": "d"})
    finish(store)
    assert not (store.folder(JOB) / "checkpoints").exists()


# --- blocks

STAMP = {"digest": "d", "model_sha256": "w"}


def save_blocks(store: Store, count: int = 3) -> None:
    for number in range(count):
        store.save_block(JOB, Block(number, b"images %d" % number, {"calls": number, "seconds": 0.5}), STAMP)


def test_blocks_come_back_as_they_were_saved_and_go_with_the_result(store: Store) -> None:
    save_blocks(store)
    said: list[str] = []
    assert {number: facts["calls"] for number, facts in store.blocks(JOB, STAMP, said.append).items()} == {
        0: 0, 1: 1, 2: 2,
    }  # fmt: skip
    assert store.read_block(JOB, 1, STAMP) == Block(1, b"images 1", {"calls": 1, "seconds": 0.5})
    assert said == []
    finish(store)
    assert store.blocks(JOB, STAMP, said.append) == {}
    assert not (store.folder(JOB) / "blocks").exists()


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "facts", "foreign"])
def test_a_damaged_block_is_made_again_and_said_in_one_line(store: Store, damage: str) -> None:
    save_blocks(store)
    path = store.folder(JOB) / "blocks" / "block-00001"
    whole = path.read_bytes()
    path.write_bytes({
        "truncated": whole[:-1],
        "empty": b"",
        "flipped": whole[:-1] + b"?",
        "facts": whole.replace(b'"calls": 1', b'"calls": 9'),
        "foreign": b"not ours at all",
    }[damage])  # fmt: skip
    said: list[str] = []
    assert sorted(store.blocks(JOB, STAMP, said.append)) == [0, 2]
    assert said == [f"block 1 is made again: {path} is truncated or not ours (its hash differs)"]
    with pytest.raises(StoreError, match="is truncated or not ours"):
        store.read_block(JOB, 1, STAMP)


def test_blocks_of_other_source_code_or_weights_are_made_again(store: Store) -> None:
    save_blocks(store, 1)
    for changed in ({"digest": "other"}, {"model_sha256": "other"}):
        said: list[str] = []
        assert store.blocks(JOB, {**STAMP, **changed}, said.append) == {}
        (line,) = said
        assert line.endswith("block-00000 was computed with another source code, model or images")


def test_a_file_of_a_finished_job_can_go_and_the_job_stays_done(store: Store) -> None:
    finish(store)
    result = store.discard(JOB, "model.bin")
    assert result == store.result(JOB)
    assert store.has(JOB, "d")
    assert not store.has(JOB, "d", also=["model.bin"])
    assert not (store.folder(JOB) / "model.bin").exists()
    store.reopen(JOB)
    assert not store.has(JOB, "d")


# --- locks


def test_a_job_held_by_another_process_is_busy_and_the_process_is_named(store: Store) -> None:
    script = (
        "import sys; from robuststack.running.store import Store\n"
        f"with Store({str(store.root)!r}).lock({JOB!r}):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=rf"being run by another run \(process {holder.pid}\)"), store.lock(JOB):
            pass
        holder.kill()
    # A lock dies with its holder, however it died.
    with store.lock(JOB):
        pass


def test_a_beginning_of_an_id_finds_the_job_and_two_matches_do_not(store: Store) -> None:
    finish(store)
    assert store.find("train-0123") == JOB
    with pytest.raises(StoreError, match="has no finished job train-9; it holds 1 finished jobs"):
        store.find("train-9")
    finish(store, job="train-0123000000000000")
    with pytest.raises(StoreError, match="2 jobs begin with train-0123"):
        store.find("train-0123")


def test_a_failed_write_keeps_the_old_file_and_leaves_no_half_one(tmp_path: Path) -> None:
    path = tmp_path / "board.json"
    write_text(path, "old")
    script = (
        "import resource; from pathlib import Path; from robuststack.running.atomic_files import write_text\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"write_text(Path({str(path)!r}), 'x' * 10_000)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "StoreError: cannot write" in done.stderr
    assert "File too large" in done.stderr
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["board.json"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_folder_that_cannot_lock_files_is_one_line(
    store: Store, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(file: object, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreError, match=r"lies on a file system that cannot lock files.*name a folder on a disk"):
        store.lock(JOB).__enter__()


# --- what is sealed


@pytest.mark.parametrize("name", ["result.json", "meta.json"])
def test_a_digit_that_changed_in_a_result_or_a_checkpoint_is_refused_by_name(store: Store, name: str) -> None:
    store.finish(JOB, {"digest": "d", "latency_ms": 1.25, "by_draws": {10: 1, 9: 2}}, {})
    store.save_checkpoint(JOB, 1, {}, {"digest": "d", "history": [1.25]})
    assert store.result(JOB) == {"digest": "d", "latency_ms": 1.25, "by_draws": {"10": 1, "9": 2}, "files": {}}
    (path,) = store.root.rglob(name)
    path.write_text(path.read_text().replace("1.25", "1.35"))
    read = {"result.json": lambda: store.result(JOB), "meta.json": lambda: store.load_checkpoint(JOB, "d")}
    with pytest.raises(StoreError, match=rf"{name} cannot be read \(its hash differs\)"):
        read[name]()


def test_files_of_others_among_blocks_and_checkpoints_are_left_alone(store: Store) -> None:
    store.save_block(JOB, Block(1, b"", {}), {})
    store.save_checkpoint(JOB, 1, {}, {"digest": "d"})
    (store.folder(JOB) / "blocks" / "block-00001 (copy)").write_text("")
    (store.folder(JOB) / "checkpoints" / "epoch-last").mkdir()
    assert store.block_numbers(JOB) == [1]
    checkpoint = store.load_checkpoint(JOB, "d")
    assert checkpoint is not None
    assert checkpoint.epoch == 1


def test_a_damaged_mark_of_a_store_is_told_how_to_mend_and_nothing_is_to_be_deleted(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text("")
    with pytest.raises(StoreError, match=r'cannot be read .*; write {"schema": 2} into it, or name another --store$'):
        Store(tmp_path)
