"""The workers that a run has on the nodes of a cluster: where they are, and what they tell."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from robuststack.errors import RobustStackError
from robuststack.hardware import Hardware
from robuststack.plan.job import Job
from robuststack.running.executors.parcel import Event, Work
from robuststack.running.executors.ray_cluster import Node, RayCluster, Share
from robuststack.running.executors.ray_nodes import Nodes
from robuststack.running.executors.ray_worker import RayWorker

SHORT_SECONDS = 0.05
POLL_SECONDS = 1.0
"""How often the run looks for new nodes while nothing is heard."""


@dataclass(eq=False)
class Worker:
    """A worker as the run knows it."""

    actor: Any
    node: Node
    call: Any
    """What it is to answer; None while it has nothing to do."""
    ready: bool = False
    work: Work | None = None
    result: dict[str, Any] | None = None
    """Of the work, as it was stored."""

    @property
    def idle(self) -> bool:
        return self.ready and self.work is None


@dataclass(frozen=True)
class Lost(Event):
    """The worker has died."""

    reason: str


class Pool:
    """As many workers as were asked for and there is room for."""

    def __init__(self, cluster: RayCluster, nodes: Nodes, share: Share, hardware: Hardware) -> None:
        """`share` is what each worker gets of its node."""
        self._cluster, self._nodes, self._share, self._hardware = cluster, nodes, share, hardware
        self.workers: list[Worker] = []
        self._failed_starts: Counter[str] = Counter()

    def at_work(self, job: Job) -> int:
        """How many workers have work of a job."""
        return sum(worker.work is not None and worker.work.job is job for worker in self.workers)

    def free_nodes(self, kept: Collection[str]) -> list[Node]:
        """The nodes that have room for further workers, those with most room first; without those that are `kept` free."""
        there = Counter(worker.node.id for worker in self.workers)
        room = {node: self._share.fits(node) - there[node.id] for node in self._nodes.usable() if node.id not in kept}
        return sorted((node for node in room if room[node] > 0), key=lambda node: -room[node])

    def grow(self, count: int, kept: Collection[str]) -> None:
        """Start workers until there are so many, on the nodes with most room, if there is any."""
        while len(self.workers) < count and (free := self.free_nodes(kept)):
            self.start(free[0])

    def start(self, node: Node) -> None:
        """Start a worker on a node. It is asked at once what the node is."""
        hardware = replace(self._hardware, workers=self._share.fits(node))
        actor = (
            self._cluster.ray.remote(RayWorker)
            .options(**self._share.options, max_restarts=0, scheduling_strategy=self._cluster.on(node))
            .remote(hardware, os.getcwd())
        )
        self.workers.append(Worker(actor, node, actor.facts.remote(self._nodes.packages)))

    def begin(self, worker: Worker, work: Work) -> None:
        """Give work to an idle worker."""
        worker.work, worker.result = work, None
        worker.call = worker.actor.begin.remote(work)

    def go_on(self, worker: Worker) -> None:
        """Ask a worker what happens next."""
        worker.call = worker.actor.events.remote()

    def end(self, worker: Worker) -> None:
        """End a worker, whatever it is doing."""
        self.workers.remove(worker)
        self._cluster.ray.kill(worker.actor)

    def end_all(self) -> None:
        while self.workers:
            self.end(self.workers[-1])

    def hear(self) -> list[tuple[Worker, list[Event]]]:
        """Wait until workers that have work tell of it, or for a moment. One that died is not among the workers any more:
        `Lost` is all that it tells.

        Raises:
            RobustStackError: there is no node on which a worker can be started.
        """
        calls = {worker.call: worker for worker in self.workers if worker.call is not None}
        if not calls:
            self._nodes.wait()
            time.sleep(SHORT_SECONDS)
            return []
        ray = self._cluster.ray
        ready, _ = ray.wait([*calls], num_returns=1, timeout=POLL_SECONDS)
        if ready:  # And all others that have something by now.
            ready, _ = ray.wait([*calls], num_returns=len(calls), timeout=0)
        heard: list[tuple[Worker, list[Event]]] = []
        for call in ready:
            worker = calls[call]
            try:
                answer = ray.get(call)
            except ray.exceptions.RayError as error:
                self.end(worker)
                self._nodes.forget()
                if worker.ready:
                    heard.append((worker, [Lost(_reason(error))]))
                else:
                    self._start_failed(worker.node, _reason(error))
                continue
            worker.call = None
            if worker.ready:
                heard.append((worker, answer))
            elif self._nodes.admit(worker.node, answer):
                worker.ready = True
                del self._failed_starts[worker.node.id]
            else:
                self.end(worker)
        return heard

    def _start_failed(self, node: Node, reason: str) -> None:
        """A node on which several workers in a row could not be started is not used; others are."""
        self._failed_starts[node.id] += 1
        if self._failed_starts[node.id] > self._cluster.options.retries:
            reason = f"no worker can be started there: {reason}"
            self._nodes.refuse(node, reason)
            if not self._nodes.usable():
                raise RobustStackError(f"node {node.host}: {reason}")


def _reason(error: Exception) -> str:
    """Why a worker is gone, in a line."""
    name = type(error).__name__
    known = {
        "OutOfMemoryError": "its node was out of memory",
        "NodeDiedError": "its node died",
        "ActorDiedError": "its process died",
        "ActorUnavailableError": "its node does not answer",
        "ObjectLostError": "its node died",
    }
    text = str(getattr(error, "cause", None) or error)
    if "out of memory" in text.lower() or "oom" in text.lower().split():
        return known["OutOfMemoryError"]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return known.get(name) or f"{name}: {lines[-1] if lines else ''}"
