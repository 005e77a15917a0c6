"""A run on the nodes of a Ray cluster: the bytes of a run in one process, also with a node killed in the middle; and what
fails there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import robuststack as rs
from clusters import cluster
from robuststack.cli import call
from robuststack.errors import RobustStackError
from robuststack.hardware import Hardware
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.running.executors.places import place
from robuststack.running.executors.ray_cluster import Node, RayCluster, Share
from robuststack.running.executors.ray_nodes import Nodes
from robuststack.running.executors.ray_pool import Pool
from robuststack.running.executors.ray_worker import node_facts
from robuststack.running.pipeline import run_plan
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite
from stores import contents, untimed

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


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    with cluster(1, 1) as made:
        yield made


@pytest.fixture(scope="module")
def connected(two_nodes: Any) -> Iterator[Any]:
    """The two nodes, with a connection of this program's own. Each further one has Ray start a process on every node."""
    import ray

    ray.init(address=two_nodes.address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    yield two_nodes
    ray.shutdown()


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
    said = [untimed(row) for row in spread.rows]
    assert said == [untimed(row) for row in alone.rows]
    # A model that was trained again is behind several rows, and each of them says so.
    assert sum(row.effort.retries for row in spread.rows) >= len(notices) >= 1
    assert all("was lost" in notice and "tried again, 1 of 2" in notice for notice in notices)


def test_one_worker_puts_the_result_of_many_blocks_together_and_does_no_failed_job_again(
    suite: Path, tmp_path: Path, connected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nobody to share blocks with; a job whose model a function returns is never shared out. A job that fails by
    itself, as training at this rate does, is not tried again."""
    (tmp_path / "flat.py").write_text(
        "import torch\n\ndef model():\n    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    placed: list[str] = []

    class Watch:
        @rs.hookimpl
        def job_placed(self, job: Any) -> None:
            placed.append(job.label)

    registry = Registry()
    registry.hooks.register(Watch())
    defenses = "[none, {name: none, model: {python: 'flat:model'}}, {name: none, train: {lr: 1e30}}]"
    changes = [f"defenses={defenses}", "resources={alone: 1}"]
    only = connected.add_node(num_cpus=1, resources={"alone": 1})
    alone = rs.run(suite, store=tmp_path / "one", leaderboard=None, overrides=changes[:1])
    one = rs.RayOptions(address=connected.address)
    spread = rs.run(suite, store=tmp_path / "two", leaderboard=None, overrides=changes, executor=one, registry=registry)
    connected.remove_node(only)
    ((failed, reason),) = spread.failed.items()
    assert reason.startswith("the loss is nan in epoch 1")
    assert placed.count(failed) == 1
    assert spread.failed == alone.failed
    assert len(spread.rows) == 2
    assert [untimed(row) for row in spread.rows] == [untimed(row) for row in alone.rows]


def test_a_job_that_loses_too_many_workers_fails_alone(suite: Path, tmp_path: Path, connected: Any) -> None:
    plan_of = load_suite(suite, ["defenses=[none]"])
    registry = Registry()
    store = Store(tmp_path / "store")
    with place(rs.RayOptions(address=connected.address, retries=0)) as where:
        plan = make_plan(plan_of, registry, where.hardware(plan_of, "auto", None))
        with where.executor(plan, registry, store, tmp_path) as executor:

            class Killer:
                @rs.hookimpl
                def epoch_finished(self, job: Any) -> None:
                    for worker in executor._pool.workers:
                        if worker.work and worker.work.job is job:
                            where._cluster.ray.kill(worker.actor)

            registry.hooks.register(Killer())
            outcome = run_plan(plan, store, executor, registry)
    (error,) = outcome.failed.values()
    assert re.fullmatch(r"its worker on \S+ was lost \(its process died\)", str(error))
    assert [result["kind"] for result in outcome.results.values()] == ["measure"]


def test_a_node_on_which_no_worker_can_be_started_is_left_alone(connected: Any, caplog: Any) -> None:
    share = Share(1)
    with RayCluster(rs.RayOptions(address=connected.address)) as reached:
        nodes = Nodes(reached, share)
        pool = Pool(reached, nodes, share, Hardware("cpu", "float32"))
        first, second = nodes.usable()

        def fail(node: Node) -> None:
            pool.start(node)
            reached.ray.kill(pool.workers[0].actor)
            while pool.workers:
                pool.hear()

        for _ in range(3):
            assert first in nodes.usable()
            fail(first)
        assert nodes.usable() == [second]
        assert "is not used: no worker can be started there: its process died" in caplog.text
        fail(second)
        fail(second)
        with pytest.raises(RobustStackError, match=r"^node \S+: no worker can be started there: its process died$"):
            fail(second)


def test_a_worker_that_is_still_starting_does_not_keep_the_last_job_from_being_timed(
    suite: Path, tmp_path: Path, connected: Any
) -> None:
    wanted = load_suite(suite, ["defenses=[none]"])
    registry = Registry()
    with place(rs.RayOptions(address=connected.address)) as where:
        plan = make_plan(wanted, registry, where.hardware(wanted, "auto", None))
        with where.executor(plan, registry, Store(tmp_path / "store"), tmp_path) as executor:
            (timed,) = (job for job in plan.jobs if job.kind == "measure")
            for node in executor._nodes.usable():
                executor._pool.start(node)
            # As when the work that they were started for was lost with a node, or done by others.
            where._cluster.ray.kill(executor._pool.workers[0].actor)
            assert executor.has_room(timed, ())
            assert [worker.ready for worker in executor._pool.workers] == [True]


def test_a_node_that_has_died_before_it_is_asked_is_left_out(connected: Any) -> None:
    with RayCluster(rs.RayOptions(address=connected.address)) as reached:
        there = reached.nodes()
        gone = Node("0" * len(there[0].id), "gone", dict(there[0].resources))
        assert list(reached.ask(node_facts, [gone, *there], ("robuststack",))) == there


def test_a_cluster_that_is_too_small_is_one_line_also_in_a_dry_run(
    suite: Path, tmp_path: Path, connected: Any, capsys: Any
) -> None:
    command = [
        "run",
        str(suite),
        "--executor",
        "ray",
        "--address",
        connected.address,
        "--store",
        str(tmp_path / "store"),
    ]
    for more, wanted in (
        (["--set", "threads=9"], "9 CPU"),
        (["--set", "resources={h100: 0.5}", "--dry-run"], "1 CPU, 0.5 h100"),
    ):
        assert call([*command, *more]) == 2
        told = f"a job needs {wanted} on one node, and no node of the cluster has that"
        assert told in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
