"""Runs jobs on the nodes of a Ray cluster. Workers share no folder with the run, and this process imports no torch."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from robuststack.errors import JobFailed, RobustStackError, SuiteError
from robuststack.hardware import Hardware
from robuststack.plan.components import component
from robuststack.plan.job import Job
from robuststack.plan.specs import AttackSpec, JudgeSpec, TrainSpec, parse_spec
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.registry import Registry
from robuststack.running.blocks import accuracy_so_far, loss_by_kill, sizes, stored_basis
from robuststack.running.executors.parcel import (
    BlockMade,
    BlocksWorthless,
    Broken,
    CheckpointMade,
    Event,
    Logged,
    Over,
    Parcel,
    Reported,
    ResultMade,
    Work,
)
from robuststack.running.executors.parcels import Sender
from robuststack.running.executors.ray_cluster import Node, RayCluster, Share
from robuststack.running.executors.ray_nodes import Nodes
from robuststack.running.executors.ray_timed import Reservations
from robuststack.running.executors.ray_worker import RayWorker
from robuststack.running.executors.shared_job import SharedJob
from robuststack.running.pipeline import Report
from robuststack.running.store import Block, Store

SHORT_SECONDS = 0.05
POLL_SECONDS = 1.0
"""How often the run looks for new nodes while nothing is heard."""
WORTH_A_WORKER = 10.0
"""Seconds of work on blocks that are worth another worker, which has to import torch first."""


@dataclass(eq=False)
class _Worker:
    """A worker as the run knows it."""

    actor: Any
    node: Node
    call: Any
    """What it is to answer; None while it has nothing to do."""
    ready: bool = False
    work: Work | None = None
    shared: SharedJob | None = None
    """What the work is a part of; None while it prepares."""
    result: dict[str, Any] | None = None
    """Of the work, as it was stored."""

    @property
    def idle(self) -> bool:
        return self.ready and self.work is None


class RayExecutor:
    """As many workers as the cluster has room for, started when there is work for them. A context: it ends them."""

    def __init__(self, registry: Registry, store: Store, hardware: Hardware, cluster: RayCluster, share: Share) -> None:
        """`share` is what each job gets of its node."""
        self._registry, self._store, self._hardware, self._cluster = registry, store, hardware, cluster
        self._share = share
        self._nodes = Nodes(cluster, self._share)
        self._timed = Reservations(cluster, self._share)
        self._sender = Sender(store, cluster.ray.put)
        self._workers: list[_Worker] = []
        self._jobs: dict[str, SharedJob] = {}
        self._over: deque[tuple[Job, dict[str, Any] | JobFailed]] = deque()
        self._prepared: dict[str, JobFailed] | None = None
        self._failed_starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._timed.release_all()
        while self._workers:
            self._end(self._workers[-1])

    @property
    def slots(self) -> int:
        """How many jobs the nodes that there are now have room for."""
        return self._slots_without(())

    def prepare(self, pending: Sequence[Job], done: Sequence[Job]) -> dict[str, JobFailed]:
        """Compare the code on all nodes, and let one worker load the data and call the models, while others start.

        Raises:
            RobustStackError: what it found.
        """
        self._nodes.check([*pending, *done], self._registry)
        if any(job.kind == "measure" for job in pending):
            self._timed.check(self._nodes.usable())
        self._prepared = None
        work = Work(Parcel(), pending=tuple(pending), done=tuple(done))
        self._grow(min(self.slots, len(pending)))
        for _ in range(self._cluster.options.retries + 1):
            while (worker := next((idle for idle in self._workers if idle.idle), None)) is None:
                self._hear(_nobody)
                self._grow(1)
            self._begin(worker, work, None)
            while worker in self._workers and worker.work is work:
                self._hear(_nobody)
            if self._prepared is not None:
                return self._prepared
        raise RobustStackError("nothing could be prepared: each worker that tried died; was it out of memory?")

    def has_room(self, job: Job, running: Collection[Job]) -> bool:
        """Whether a node has room for the job; for one that is timed, whether a node has nothing else to do."""
        if not running and not self._nodes.usable():
            self._nodes.wait()
        others = sum(other.kind != "measure" for other in running)
        kept = self._timed.nodes
        if job.kind == "measure":
            node = self._resting()
            return node is not None and others <= self._slots_without({*kept, node.id})
        return others < self._slots_without(kept)

    def _slots_without(self, kept: Collection[str]) -> int:
        return sum(self._share.fits(node) for node in self._nodes.usable() if node.id not in kept)

    def start(self, job: Job) -> None:
        """Take the job on. It gets a worker when one is free."""
        shared = SharedJob(job)
        if isinstance(job.spec, AttackSpec | JudgeSpec) and not job.calls_function and self.slots > 1:
            self._share_out(shared, job.spec)
        if job.kind == "measure":
            node = self._resting()
            assert node is not None, "there is room for it"
            self._timed.reserve(job.id, node)
        self._jobs[job.id] = shared

    def finished(self, report: Report) -> tuple[Job, dict[str, Any] | JobFailed]:
        """Wait until one of the jobs is over. A job whose worker dies is tried again."""
        while not self._over:
            self._hand_out(report)
            self._hear(report)
        return self._over.popleft()

    def _share_out(self, shared: SharedJob, spec: AttackSpec | JudgeSpec) -> None:
        """Find the blocks of a job that are still to be made."""
        parts = spec.foreign
        if parts is None:
            trained = parse_spec(self._store.result(spec.model))
            assert isinstance(trained, TrainSpec)
            parts = trained.model
        dataset: Dataset = component(self._registry, "dataset", parts.dataset)
        job = shared.job
        shared.sizes = sizes(spec, spec.selection.count(dataset.size(spec.selection.split)))
        # Those that are damaged are told of when the job's parcel is made.
        shared.facts = self._store.blocks(job.id, {"digest": job.digest, **stored_basis(spec, self._store)})
        shared.left = [number for number in range(len(shared.sizes)) if number not in shared.facts]

    def _resting(self, avoid: Collection[str] = ()) -> Node | None:
        """A node on which nothing of this run is computed and something may be timed, if possible none to avoid."""
        if any(not worker.ready for worker in self._workers):
            return None
        busy = {worker.node.id for worker in self._workers if worker.work is not None}
        nodes = [node for node in self._nodes.usable() if node.id not in busy and self._timed.fit(node)]
        return min(nodes, key=lambda node: node.id in avoid, default=None)

    # Handing out work.

    def _hand_out(self, report: Report) -> None:
        """Give work to the workers that have none, and start further ones if they are worth it."""
        for shared in [*self._jobs.values()]:
            if shared.job.kind == "measure" and shared.waits():
                self._hand_out_timed(shared, report)
        for worker in [resting for resting in self._workers if resting.idle]:
            if worker.node.id in self._timed.nodes:
                continue
            waiting = [shared for shared in self._jobs.values() if shared.waits() and shared.job.kind != "measure"]
            waiting = [shared for shared in waiting if self._may_work(worker, shared)]
            if waiting:
                # First those that have no worker at all, in their order.
                shared = min(waiting, key=lambda job: (job.at_work > 0, -len(job.left) if job.at_work else 0))
                self._hand_to(worker, shared, report)
        self._grow(self._wanted())

    def _hand_out_timed(self, shared: SharedJob, report: Report) -> None:
        job = shared.job.id
        node = self._timed.node(job)
        usable = {alive.id for alive in self._nodes.usable()} - shared.lost_on
        if node is None or node.id not in usable:
            self._timed.release(job)
            node = self._resting(shared.lost_on)
            if node is None:
                return
            self._timed.reserve(job, node)
        there = [worker for worker in self._workers if worker.node.id == node.id]
        if not there:
            self._start_worker(node)
        elif all(worker.idle for worker in there) and self._timed.free(job, len(there)):
            self._hand_to(there[0], shared, report)

    def _hand_to(self, worker: _Worker, shared: SharedJob, report: Report) -> None:
        job = shared.job

        def noticed(text: str) -> None:
            report("job_noticed", job=job, text=text)

        blocks = shared.take(self.slots)
        parcel = Parcel(self._sender.needs(job.needs)) if blocks else self._sender.parcel(job, noticed)
        report("job_placed", job=job, node=worker.node.host)
        self._begin(worker, Work(parcel, job, blocks), shared)

    def _begin(self, worker: _Worker, work: Work, shared: SharedJob | None) -> None:
        worker.work, worker.shared, worker.result = work, shared, None
        if shared is not None:
            shared.at_work += 1
        worker.call = worker.actor.begin.remote(work)

    def _may_work(self, worker: _Worker, shared: SharedJob) -> bool:
        """Whether a worker may take a job: one that was lost is tried again elsewhere, if there is any elsewhere."""
        if worker.node.id not in shared.lost_on:
            return True
        others = {other.node.id for other in self._workers} | {node.id for node in self._free_nodes()}
        return others <= shared.lost_on

    def _wanted(self) -> int:
        """How many workers there is work for."""
        busy = sum(worker.work is not None for worker in self._workers)
        waiting = [shared for shared in self._jobs.values() if shared.waits() and shared.job.kind != "measure"]
        wanted = busy
        for shared in waiting:
            spare = int(min(shared.seconds_left() // WORTH_A_WORKER, len(shared.left)))
            wanted += max(spare, 0 if shared.at_work else 1)
            if shared.lost_on and not shared.at_work and not self._elsewhere(shared):
                further = [node for node in self._free_nodes() if node.id not in shared.lost_on]
                if further:
                    self._start_worker(further[0])
        return wanted

    def _elsewhere(self, shared: SharedJob) -> bool:
        """Whether there is a worker on a node on which the job has not lost one."""
        return any(worker.node.id not in shared.lost_on for worker in self._workers)

    def _grow(self, count: int) -> None:
        """Start workers until there are so many, on the nodes with most room, if there is any."""
        while len(self._workers) < count:
            free = self._free_nodes()
            if not free:
                return
            self._start_worker(free[0])

    def _free_nodes(self) -> list[Node]:
        """The nodes that have room for further workers, those with most room first."""
        there = Counter(worker.node.id for worker in self._workers)
        room = {
            node: self._share.fits(node) - there[node.id]
            for node in self._nodes.usable()
            if node.id not in self._timed.nodes
        }
        return sorted((node for node in room if room[node] > 0), key=lambda node: -room[node])

    def _start_worker(self, node: Node) -> None:
        hardware = replace(self._hardware, workers=self._share.fits(node))
        actor = (
            self._cluster.ray.remote(RayWorker)
            .options(**self._share.options, max_restarts=0, scheduling_strategy=self._cluster.on(node))
            .remote(hardware, os.getcwd())
        )
        self._workers.append(_Worker(actor, node, actor.facts.remote(self._nodes.packages)))

    def _end(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._cluster.ray.kill(worker.actor)

    # Hearing of it.

    def _hear(self, report: Report) -> None:
        """Wait until a worker has something to tell, or for a moment, and take it."""
        calls = {worker.call: worker for worker in self._workers if worker.call is not None}
        if not calls:
            self._nodes.wait()
            time.sleep(SHORT_SECONDS)
            return
        ready, _ = self._cluster.ray.wait([*calls], num_returns=1, timeout=POLL_SECONDS)
        if ready:  # And all others that have something by now.
            ready, _ = self._cluster.ray.wait([*calls], num_returns=len(calls), timeout=0)
        for call in ready:
            self._answered(calls[call], report)

    def _answered(self, worker: _Worker, report: Report) -> None:
        try:
            answer = self._cluster.ray.get(worker.call)
        except self._cluster.ray.exceptions.RayError as error:
            self._lost(worker, error, report)
            return
        worker.call = None
        if not worker.ready:
            worker.ready = True
            if not self._nodes.admit(worker.node, answer):
                self._end(worker)
            return
        for event in answer:
            self._happened(worker, event, report)
        if worker.work is not None and worker in self._workers:
            worker.call = worker.actor.events.remote()

    def _happened(self, worker: _Worker, event: Event, report: Report) -> None:
        if isinstance(event, Logged):
            logging.getLogger(event.logger).log(event.level, "%s", event.text)
        elif isinstance(event, Broken):
            raise self._told(event.error, worker)
        elif isinstance(event, Over):
            self._done(worker, event)
        elif worker.shared is not None:
            self._came_home(worker, worker.shared, event, report)

    def _came_home(self, worker: _Worker, shared: SharedJob, event: Event, report: Report) -> None:
        """Store what a worker has made."""
        job, store = shared.job, self._store
        if isinstance(event, Reported):
            # Of blocks that were shared out, it was told when they came.
            if not (event.hook == "block_finished" and shared.sizes):
                report(event.hook, job=job, **event.facts)
        elif isinstance(event, CheckpointMade):
            store.save_checkpoint(job.id, event.epoch, _views(event.files), event.meta)
        elif isinstance(event, BlockMade):
            store.save_block(job.id, Block(event.number, event.content.tobytes(), event.facts), event.stamp)
            if shared.sizes:
                self._block_done(shared, event, report)
        elif isinstance(event, BlocksWorthless):
            store.discard_blocks(job.id)
        elif isinstance(event, ResultMade):
            retries = {"retries": shared.retries} if shared.retries else {}
            worker.result = store.finish(job.id, {**event.result, **retries}, _views(event.files))

    def _block_done(self, shared: SharedJob, event: BlockMade, report: Report) -> None:
        known = max((facts["seconds"] for facts in shared.facts.values()), default=0.0)
        warning = loss_by_kill(event.facts["seconds"])
        if warning and not loss_by_kill(known):
            report("job_noticed", job=shared.job, text=warning)
        shared.facts[event.number] = event.facts
        report(
            "block_finished", job=shared.job, done=shared.images_done, total=sum(shared.sizes),
            metrics=accuracy_so_far(shared.job, shared.facts.values()),
        )  # fmt: skip

    def _done(self, worker: _Worker, event: Over) -> None:
        work, shared, worker.work, worker.shared = worker.work, worker.shared, None, None
        assert work is not None
        if shared is None:
            self._prepared = event.outcome  # type: ignore[assignment]  # Of `prepare`.
            return
        shared.at_work -= 1
        if shared.job.id not in self._jobs:
            return  # It failed meanwhile.
        if isinstance(event.outcome, JobFailed):
            self._job_over(shared, event.outcome)
        elif not work.blocks:
            assert worker.result is not None or event.outcome is not None
            self._job_over(shared, worker.result or dict(event.outcome or {}))

    def _job_over(self, shared: SharedJob, outcome: dict[str, Any] | JobFailed) -> None:
        del self._jobs[shared.job.id]
        self._timed.release(shared.job.id)
        for worker in [other for other in self._workers if other.shared is shared and other.work is not None]:
            self._end(worker)  # It works on what has failed.
        self._over.append((shared.job, outcome))

    def _told(self, error: Exception, worker: _Worker) -> Exception:
        """What concerns the whole run, with the node that it was found on if there are several."""
        several = len(self._nodes.usable()) > 1
        if several and isinstance(error, RobustStackError) and not isinstance(error, SuiteError):
            return type(error)(f"on node {worker.node.host}: {error}")
        return error

    def _lost(self, worker: _Worker, error: Exception, report: Report) -> None:
        """A worker has died: its work is done again by another."""
        self._end(worker)
        self._nodes.forget()
        reason = _reason(error)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts > self._cluster.options.retries:
                raise RobustStackError(f"node {worker.node.host}: no worker can be started there: {reason}")
            return
        shared = worker.shared
        if shared is None or shared.job.id not in self._jobs:
            return
        assert worker.work is not None
        shared.at_work -= 1
        shared.retries += 1
        shared.lost_on.add(worker.node.id)
        retries = self._cluster.options.retries
        if shared.retries > retries:
            again = f" for the {shared.retries}. time" if retries else ""
            self._job_over(shared, JobFailed(f"its worker on {worker.node.host} was lost{again}: {reason}"))
            return
        shared.give_back(worker.work.blocks)
        text = f"its worker on {worker.node.host} was lost ({reason}); it is tried again, {shared.retries} of {retries}"
        report("job_noticed", job=shared.job, text=text)


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


def _views(files: Any) -> dict[str, memoryview]:
    """The content of files without a copy of it."""
    return {name: memoryview(array) for name, array in files.items()}


def _nobody(event: str, **facts: Any) -> None:
    """Nobody is told of what happens while a run is prepared."""
