"""Runs written to Weights & Biases and to MLflow for real, without a connection: `tox -e trackers` installs both."""

from __future__ import annotations

import contextlib
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import robuststack as rs
from robuststack.cli import call
from robuststack.plugin.registry import Registry

pytestmark = pytest.mark.trackers
SUITE = """
name: tracked
datasets: {name: tradeoff, options: {images: 60, test_images: 20, size: 8, classes: 3}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 2, batch_size: 20, attack: {name: pgd, options: {steps: 1}}}
defenses: {name: float, points: {lambda_n: [1]}}
attacks: fgsm
evaluate: {draws: 2, block: 10}
measure: {latency: false}
"""
TRAIN, ATTACK = "tradeoff/resnet8/float", "tradeoff/resnet8/float lambda_n=1 lambda_th=0 FGSM"
KINDS = ["attack", "judge", "judge", "measure", "row", "train"]


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """The suite's file in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tracked.yaml"
    path.write_text(SUITE)
    return path


def run(suite: Path, track: str) -> rs.Row:
    """Run the suite, tracked -> its row."""
    (row,) = rs.run(suite, store=suite.parent / "store", leaderboard=None, track=track, device="cpu").rows
    return row


def records(path: Path) -> Iterator[Any]:
    """The records of a file that wandb wrote offline: in blocks of 32 KiB, each piece with a checksum, its length, and
    whether it is a whole record (1), the first (2), a middle (3) or the last (4) piece of one."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, pieces = path.read_bytes(), 7, b""
    assert content.startswith(b":W&B")
    while at < len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, piece = struct.unpack("<IHB", content[at : at + 7])
        pieces += content[at + 7 : at + 7 + length]
        at += 7 + length
        if piece in (1, 4):
            record = Record()
            record.ParseFromString(pieces)
            pieces = b""
            yield record


def finished(path: Path) -> list[Any]:
    """The records of a file, once wandb, which writes in a process of its own, has written the last of them."""
    from google.protobuf.message import DecodeError

    kept: list[Any] = []
    for _ in range(300):
        with contextlib.suppress(struct.error, DecodeError):  # Cut off where it is written.
            kept = list(records(path))
            if any(record.WhichOneof("record_type") == "exit" for record in kept):
                break
        time.sleep(0.1)
    return kept


def values(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def test_wandb_gets_a_run_for_each_job_and_row(suite, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    row = run(suite, "wandb:mine")
    runs: dict[tuple[str, str], tuple[Any, list[dict[str, Any]], dict[str, Any], int]] = {}
    for path in (suite.parent / "wandb").glob("offline-run-*/*.wandb"):
        kept = finished(path)
        (about,) = (record.run for record in kept if record.WhichOneof("record_type") == "run")
        history = [values(record.history.item) for record in kept if record.WhichOneof("record_type") == "history"]
        summary: dict[str, Any] = {}
        for record in kept:
            summary |= values(record.summary.update)
        (code,) = (record.exit.exit_code for record in kept if record.WhichOneof("record_type") == "exit")
        runs[about.job_type, about.display_name] = about, history, summary, code
    assert sorted(kind for kind, _ in runs) == KINDS
    assert {(about.project, about.run_group) for about, *_ in runs.values()} == {("mine", "tracked")}
    assert {code for *_, code in runs.values()} == {0}
    about, history, _, _ = runs["train", TRAIN]
    assert list(about.tags) == ["train", "tradeoff", "resnet8", "float", "pgd"]
    assert {"defense": "float", "attack.steps": 1}.items() <= values(about.config.update).items()
    assert [entry["_step"] for entry in history if "epoch/loss" in entry] == [1, 2]
    _, history, summary, _ = runs["judge", ATTACK]
    assert [entry["_step"] for entry in history if "judging/ra" in entry] == [10, 20]
    assert summary["accuracy"] == pytest.approx(row.ra["FGSM"].value)
    assert runs["row", row.label][2]["CA"] == row.ca.value
    assert {f"point.{knob}": value for knob, value in row.point.items()}.items() <= values(
        runs["row", row.label][0].config.update
    ).items()


def test_mlflow_gets_a_run_for_each_job_and_row(suite, monkeypatch):
    from mlflow.tracking import MlflowClient

    row = run(suite, "mlflow:kept")
    client = MlflowClient(tracking_uri=f"sqlite:///{suite.parent / 'kept' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tracked")
    assert Path(experiment.artifact_location) == suite.parent / "kept" / "artifacts"
    runs = {
        (made.data.tags["kind"], made.info.run_name): made for made in client.search_runs([experiment.experiment_id])
    }
    assert sorted(kind for kind, _ in runs) == KINDS
    assert {made.info.status for made in runs.values()} == {"FINISHED"}
    train = runs["train", TRAIN]
    assert train.data.tags["tags"] == "train,tradeoff,resnet8,float,pgd"
    assert {"defense": "float", "attack.steps": "1"}.items() <= train.data.params.items()
    losses = client.get_metric_history(train.info.run_id, "epoch/loss")
    assert [metric.step for metric in losses] == [1, 2]
    judged = runs["judge", ATTACK]
    assert [metric.step for metric in client.get_metric_history(judged.info.run_id, "judging/ra")] == [10, 20]
    assert judged.data.metrics["accuracy"] == pytest.approx(row.ra["FGSM"].value)
    assert runs["row", row.label].data.metrics["CA"] == row.ca.value

    run(suite, "mlflow:kept")
    again = client.search_runs([experiment.experiment_id])
    assert len(again) == len(KINDS) + 1, "jobs that were done before write nothing; rows are always written"


def test_a_job_that_is_cut_off_ends_as_failed(suite, monkeypatch):
    from mlflow.tracking import MlflowClient

    class CutOff:
        @rs.hookimpl
        def epoch_finished(self, epoch):
            if epoch == 2:
                raise KeyboardInterrupt

    registry = Registry()
    registry.hooks.register(CutOff())
    with pytest.raises(KeyboardInterrupt):
        rs.run(suite, store="store", leaderboard=None, track="mlflow:kept", device="cpu", registry=registry)
    client = MlflowClient(tracking_uri=f"sqlite:///{suite.parent / 'kept' / 'mlflow.db'}")
    (only,) = client.search_runs([client.get_experiment_by_name("tracked").experiment_id])
    assert only.info.status == "FAILED"


@pytest.mark.parametrize(
    ("track", "message"),
    [
        ("mlflow:nothing://x", "--track mlflow:nothing://x: "),
        ("wandb:mine", "--track wandb: "),
    ],
)
def test_a_tool_that_cannot_be_reached_is_said_before_any_compute(suite, monkeypatch, capsys, track, message):
    import wandb

    wandb.teardown()  # It keeps what it read of the environment.
    for variable in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(suite.parent))
    assert call(["run", "tracked.yaml", "--device", "cpu", "--track", track]) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith(f"robuststack: error: {message}")
    assert not list(suite.parent.glob(".robuststack/train/*"))
