"""A run on the nodes of a Ray cluster: the bytes of a run in one process, also with a node killed in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import robuststack as rs
from clusters import cluster
from robuststack.plugin.registry import Registry
from stores import contents

SUITE = """
datasets: {name: digits}
architectures: {name: resnet8, options: {width: 4}}
threat: {eps: 0.1}
train: {epochs: 3, batch_size: 200, attack: {name: pgd, options: {steps: 1, step: relative}}}
defenses: [none, {name: float, points: {lambda_n: [0, 1]}}]
attacks: {name: pgd, options: {steps: 2}}
evaluate: {draws: 2, limit: 120, block: 20}
measure: {latency: false}
precision: float32
device: cpu
threads: 1
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    with cluster(1, 1) as made:
        yield made


def figures(row: rs.Row) -> str:
    """A row without what was timed and where."""
    effort = row.effort.model_copy(update={"retries": 0})
    plain = row.model_copy(update={"effort": effort})
    return plain.model_dump_json(exclude={"machine", "train_seconds_per_epoch", "latency_ms"})


def test_two_nodes_give_the_bytes_of_one_process_though_one_is_killed(
    suite: Path, tmp_path: Path, two_nodes: Any
) -> None:
    alone = rs.run(suite, store=tmp_path / "one", leaderboard=None)
    lost = two_nodes.add_node(num_cpus=1)
    nodes: dict[str, set[str]] = {}
    notices: list[str] = []

    class Killer:
        @rs.hookimpl
        def job_placed(self, job: Any, node: str) -> None:
            nodes.setdefault(job.id, set()).add(node)

        @rs.hookimpl
        def epoch_finished(self, job: Any, epoch: int) -> None:
            if two_nodes.worker_nodes and lost in two_nodes.worker_nodes:
                two_nodes.remove_node(lost, allow_graceful=False)

        @rs.hookimpl
        def job_noticed(self, job: Any, text: str) -> None:
            notices.append(text)

    registry = Registry()
    registry.hooks.register(Killer())
    where = rs.RayOptions(address=two_nodes.address)
    spread = rs.run(suite, store=tmp_path / "two", leaderboard=tmp_path / "board", executor=where, registry=registry)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    said = [figures(row) for row in spread.rows]
    assert said == [figures(row) for row in alone.rows]
    # A model that was trained again is behind several rows, and each of them says so.
    assert sum(row.effort.retries for row in spread.rows) >= len(notices) >= 1
    assert all("was lost" in notice and "tried again, 1 of 2" in notice for notice in notices)
