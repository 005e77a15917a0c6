"""What is wrong with a cluster, or with what is asked of one, is one line; and how blocks are shared out."""

from __future__ import annotations

import hashlib
import re
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

import robuststack as rs
from robuststack.cli import call
from robuststack.errors import RobustStackError
from robuststack.running.executors.parcel import (
    BlockMade,
    CheckpointMade,
    Event,
    Parcel,
    ResultMade,
    SentBlock,
    SentJob,
)
from robuststack.running.executors.ray_cluster import Node, Share, wait_for
from robuststack.running.executors.remote_store import RemoteStore
from robuststack.running.executors.same_code import Code, difference, installed, meanings
from robuststack.running.executors.shared_job import SharedJob
from robuststack.running.store import Block

JOB: Any = None
"""What is shared out is no matter here."""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--executor", "rey"], "--executor rey: did you mean 'ray'?"),
        (["--retries", "3"], "--retries is for a cluster; add --executor ray"),
        (["--executor", "ray", "--retries", "-1"], "--retries -1: at least 0 is meant"),
        (["--executor", "ray", "--gpus-per-job", "1.5"], "--gpus-per-job 1.5: a part of one card"),
        (["--executor", "ray", "--gpus-per-job", "nan"], "--gpus-per-job nan: a part of one card"),
    ],
)
def test_options_that_mean_nothing(suite: Path, options: list[str], said: str, capsys: Any) -> None:
    assert call(["run", str(suite), *options, "--store", str(suite.parent / "store")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_without_the_extra_the_command_that_installs_it_is_said(
    suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert call(["run", str(suite), "--executor", "ray"]) == 2
    assert "Ray is not installed; python -m pip install 'robuststack[ray]' adds it" in capsys.readouterr().err


def test_an_address_that_nobody_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(
        RobustStackError, match=rf"^--address 127.0.0.1:{port}: no answer in 0 s \(Connection refused\)$"
    ):
        wait_for(f"127.0.0.1:{port}", seconds=0.2)
    with pytest.raises(RobustStackError, match="HOST:PORT, ray://HOST:PORT or auto is meant"):
        wait_for("somewhere", seconds=0.2)


def test_room_of_a_node() -> None:
    node = Node("n", "host", {"CPU": 8.0, "GPU": 2.0, "a100": 1.0})
    assert Share(2).fits(node) == 4
    assert Share(1, 0.25).fits(node) == 8
    assert Share(1, 2.0).fits(node) == 1
    assert Share(1, 0.0, {"a100": 0.5}).fits(node) == 2
    assert Share(1, 0.0, {"h100": 1.0}).fits(node) == Share(9).fits(node) == 0


def test_other_code_is_named_and_another_comment_is_none() -> None:
    here = installed(["robuststack"])
    assert "robuststack.engine.judge" in here.files
    assert not any(name.startswith("robuststack.cli") for name in here.files), "what prints may differ"
    module = "robuststack.engine.judge"
    there = Code(here.torch, {**here.files, module: "other"})
    assert difference(here, here, lambda names: {}) == ""
    assert (
        difference(here, there, lambda names: dict.fromkeys(names, "other"))
        == f"its module {module} is another than here"
    )
    assert difference(here, there, meanings) == "", "only a comment differs"
    fewer = Code(here.torch, {name: known for name, known in here.files.items() if name != module})
    assert difference(here, fewer, meanings) == f"it has no module {module}"
    assert difference(fewer, here, meanings) == f"it has a module {module}, which is not here"
    assert re.fullmatch("its torch is 0.1, here it is .*", difference(here, Code("0.1", here.files), meanings))


def test_blocks_are_shared_so_that_all_end_together() -> None:
    shared = SharedJob(JOB, sizes=[10] * 20, left=list(range(20)))
    first = shared.take(4)
    assert first == (0,), "how long one takes is not known yet"
    shared.facts[0] = {"seconds": 1.0}
    assert shared.take(4) == (1, 2, 3, 4, 5)
    shared.facts[0] = {"seconds": 0.001}
    assert len(shared.take(4)) == 4, "a quarter of what is left"
    shared.give_back((1, 2, 3, 4, 5))
    assert shared.left[:5] == [1, 2, 3, 4, 5]
    while shared.left:
        shared.take(1)
    assert not shared.waits(1), "the work on the whole comes when nobody makes a block"
    assert shared.waits(0)
    assert shared.take(1) == ()


def test_a_workers_store_has_what_was_sent_and_sends_what_is_made() -> None:
    files = {"model": b"weights", "cut": b"weigh"}
    hashes = {"model": hashlib.sha256(b"weights").hexdigest(), "cut": hashlib.sha256(b"weights").hexdigest()}
    sent: list[Event] = []
    store = RemoteStore(files.__getitem__, sent.append)
    block = SentBlock({"digest": "d"}, {"seconds": 1.0}, "model")
    parcel = {"train-1": SentJob({"digest": "d", "files": hashes}, {name: name for name in files})}
    store.open(Parcel(parcel, None, {3: block}))
    assert store.read("train-1", "model") == b"weights"
    with pytest.raises(rs.RobustStackError, match="cut of train-1 did not arrive as the job wrote it"):
        store.read("train-1", "cut")
    with pytest.raises(rs.RobustStackError, match="job train-2 was not sent along"):
        store.result("train-2")
    noticed: list[str] = []
    assert store.blocks("judge-1", {"digest": "d"}) == {3: {"seconds": 1.0}}
    assert store.blocks("judge-1", {"digest": "other"}, noticed.append) == {}
    assert noticed == ["block 3 is made again: it was computed with another source code, model or images"]
    history = [1.0]
    store.save_checkpoint("train-1", 1, {"model": b"w"}, {"history": history})
    history.append(2.0)
    store.save_block("judge-1", Block(4, b"labels", {"seconds": 2.0}), {"digest": "d"})
    assert store.blocks("judge-1", {"digest": "d"}) == {3: {"seconds": 1.0}, 4: {"seconds": 2.0}}
    assert [store.read_block("judge-1", number, {"digest": "d"}).content for number in (3, 4)] == [
        b"weights",
        b"labels",
    ]
    assert store.finish("judge-1", {"n": 1}, {"labels": b"l"})["files"] == {"labels": hashlib.sha256(b"l").hexdigest()}
    checkpoint, made, result = sent
    assert isinstance(checkpoint, CheckpointMade)
    assert checkpoint.meta == {"history": [1.0]}, "as it was when it was made"
    assert isinstance(made, BlockMade)
    assert made.content.tobytes() == b"labels"
    assert isinstance(result, ResultMade)
    assert result.result == {"n": 1}
    store.discard_blocks("judge-1")
    store.open(Parcel())
    assert store.blocks("judge-1", {"digest": "d"}) == {}
