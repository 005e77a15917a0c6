"""Workers of a cluster that are lost: what counts as one loss, and what becomes of the others' work."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from robuststack.errors import JobFailed
from robuststack.plan.job import Job
from robuststack.running.executors.parcel import Parcel, Work
from robuststack.running.executors.ray import RayExecutor
from robuststack.running.executors.ray_cluster import Node
from robuststack.running.executors.ray_pool import Lost, Worker
from robuststack.running.executors.shared_job import SharedJob

JOB = Job("attack-1", "a", SimpleNamespace(kind="attack"), "d")  # type: ignore[arg-type]


class Pool:
    """A pool whose workers on one node die together, each heard of by itself."""

    def __init__(self, workers: list[Worker], dying: Node) -> None:
        self.workers = workers
        self.dying = dying

    def hear(self) -> list[tuple[Worker, list[Lost]]]:
        dead = [worker for worker in self.workers if worker.node is self.dying]
        self.workers = [worker for worker in self.workers if worker not in dead]
        return [(worker, [Lost("its node died")]) for worker in dead]

    def end(self, worker: Worker) -> None:
        self.workers.remove(worker)

    def go_on(self, worker: Worker) -> None: ...


def executor(workers: int, retries: int = 2, before: int = 0) -> tuple[RayExecutor, SharedJob, list[str]]:
    """An executor whose dying node has so many workers on one job, and another node one."""
    dying, other = Node("dead", "host2", {"CPU": float(workers)}), Node("alive", "host1", {"CPU": 2.0})
    made = [
        Worker(object(), node, None, True, Work(Parcel(), JOB, (number,), before))  # type: ignore[arg-type]
        for number, node in enumerate([dying] * workers + [other])
    ]
    ray: Any = object.__new__(RayExecutor)
    shared = SharedJob(JOB, sizes=[100] * 20, left=list(range(workers + 1, 20)), retries=before)
    ray._retries, ray._over, ray._jobs = retries, deque(), {JOB.id: shared}
    ray._pool, ray._timed = Pool(made, dying), SimpleNamespace(release=lambda job: None)
    return ray, shared, []


@pytest.mark.parametrize("workers", [1, 3, 4, 16])
def test_the_workers_of_one_node_that_die_together_are_one_loss(workers):
    ray, shared, told = executor(workers)
    ray._hear(lambda event, **facts: told.append(facts["text"]))
    assert (shared.retries, shared.lost_on, list(ray._over)) == (1, {"dead"}, [])
    assert shared.left == [*range(workers), *range(workers + 1, 20)], "all that they were to do is done again"
    assert told == ["its worker on host2 was lost (its node died); it is tried again, 1 of 2"]
    assert len(ray._pool.workers) == 1, "who works elsewhere goes on"


@pytest.mark.parametrize("workers", [1, 3, 4, 16])
def test_after_the_last_retry_the_job_fails_once(workers):
    ray, _, _ = executor(workers, retries=2, before=2)
    ray._hear(lambda event, **facts: None)
    ((job, failed),) = ray._over
    assert job is JOB
    assert isinstance(failed, JobFailed)
    assert str(failed) == "its worker on host2 was lost (its node died), like 2 before it"
    assert ray._pool.workers == [], "nobody works on what has failed"


def test_losses_after_another_are_counted_each():
    shared = SharedJob(JOB, sizes=[100] * 4, left=[])
    shared.lose("a", 0, (0,))
    shared.lose("a", 0, (1,))
    assert shared.retries == 1, "asked before the loss"
    shared.lose("a", 1, (0,))
    assert shared.retries == 2
    shared.lose("b", 0, (2,))
    assert shared.retries == 3, "another node"
    assert shared.left == [0, 1, 2]
