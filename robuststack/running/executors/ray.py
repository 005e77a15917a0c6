"""Runs jobs on the nodes of a Ray cluster. Workers share no folder with the run, and this process imports no torch."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

import numpy as np

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
from robuststack.running.executors.ray_cluster import Node, RayCluster, Share
from robuststack.running.executors.ray_nodes import Nodes
from robuststack.running.executors.ray_pool import Lost, Pool, Worker
from robuststack.running.executors.ray_timed import Reservations
from robuststack.running.executors.sender import Sender
from robuststack.running.executors.shared_job import SharedJob
from robuststack.running.pipeline import Report
from robuststack.running.store import Block, Store

WORTH_A_WORKER = 10.0
"""Seconds of work on blocks that are worth another worker, which has to import torch first."""


class RayExecutor:
    """As many workers as the cluster has room for, started when there is work for them. A context: it ends them."""

    def __init__(self, registry: Registry, store: Store, hardware: Hardware, cluster: RayCluster, share: Share) -> None:
        """`share` is what each job gets of its node."""
        self._registry, self._store, self._share, self._retries = registry, store, share, cluster.options.retries
        self._nodes = Nodes(cluster, share)
        self._pool = Pool(cluster, self._nodes, share, hardware)
        self._timed = Reservations(cluster, share)
        self._sender = Sender(store, cluster.ray.put)
        self._jobs: dict[str, SharedJob] = {}
        self._over: deque[tuple[Job, dict[str, Any] | JobFailed]] = deque()
        self._prepared: dict[str, JobFailed] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._timed.release_all()
        self._pool.end_all()

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
        workers = self._pool.workers
        for _ in range(self._retries + 1):
            while (worker := next((idle for idle in workers if idle.idle), None)) is None:
                self._hear(_nobody)
                self._grow(1)
            self._pool.begin(worker, work)
            while worker in workers and worker.work is work:
                self._hear(_nobody)
            if self._prepared is not None:
                return self._prepared
        raise RobustStackError("nothing could be prepared: each worker that tried died; was it out of memory?")

    def has_room(self, job: Job, running: Collection[Job]) -> bool:
        """Whether a node has room for the job; for one that is timed, whether a node has nothing else to do."""
        if not running:
            self._wait_for_room(job)
        others = sum(other.kind != "measure" for other in running)
        kept = self._timed.nodes
        if job.kind == "measure":
            node = self._resting()
            return node is not None and others <= self._slots_without({*kept, node.id})
        return others < self._slots_without(kept)

    def _wait_for_room(self, job: Job) -> None:
        """Wait for a node, and for one that rests if the job is timed. Nothing runs: nobody else hears that a worker, which
        was started for work that others have done meanwhile, is there or will never be.

        Raises:
            RobustStackError: no node came in a minute, or none of those that are left may be timed on.
        """
        if not self._nodes.usable():
            self._nodes.wait()
        while job.kind == "measure" and self._resting() is None:
            self._hear(_nobody)
            self._timed.check(self._nodes.usable())

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
        if any(not worker.ready for worker in self._pool.workers):
            return None
        busy = {worker.node.id for worker in self._pool.workers if worker.work is not None}
        nodes = [node for node in self._nodes.usable() if node.id not in busy and self._timed.fit(node)]
        return min(nodes, key=lambda node: node.id in avoid, default=None)

    # Handing out work.

    def _hand_out(self, report: Report) -> None:
        """Give work to the workers that have none, and start further ones if they are worth it."""
        for shared in self._waiting(timed=True):
            self._hand_out_timed(shared, report)
        for worker in [resting for resting in self._pool.workers if resting.idle]:
            if worker.node.id in self._timed.nodes:
                continue
            waiting = [shared for shared in self._waiting(timed=False) if self._may_work(worker, shared)]
            if waiting:
                # First those that have no worker at all, in their order.
                alone = [shared for shared in waiting if not self._pool.at_work(shared.job)]
                self._hand_to(worker, alone[0] if alone else max(waiting, key=lambda job: len(job.left)), report)
        for shared in self._waiting(timed=False):
            self._start_elsewhere(shared)
        self._grow(self._wanted())

    def _waiting(self, *, timed: bool) -> list[SharedJob]:
        """The jobs that have work to hand out, in their order: those that are timed, or all others."""
        return [
            shared
            for shared in self._jobs.values()
            if (shared.job.kind == "measure") == timed and shared.waits(self._pool.at_work(shared.job))
        ]

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
        there = [worker for worker in self._pool.workers if worker.node.id == node.id]
        if not there:
            self._pool.start(node)
        elif all(worker.idle for worker in there) and self._timed.free(job, len(there)):
            self._hand_to(there[0], shared, report)

    def _hand_to(self, worker: Worker, shared: SharedJob, report: Report) -> None:
        job = shared.job

        def noticed(text: str) -> None:
            report("job_noticed", job=job, text=text)

        blocks = shared.take(self.slots)
        parcel = Parcel(self._sender.needs(job.needs)) if blocks else self._sender.parcel(job, noticed)
        report("job_placed", job=job, node=worker.node.host)
        self._pool.begin(worker, Work(parcel, job, blocks, shared.retries))

    def _may_work(self, worker: Worker, shared: SharedJob) -> bool:
        """Whether a worker may take a job: one that was lost is tried again elsewhere, if there is any elsewhere."""
        if worker.node.id not in shared.lost_on:
            return True
        others = {other.node.id for other in self._pool.workers} | {node.id for node in self._free_nodes()}
        return others <= shared.lost_on

    def _start_elsewhere(self, shared: SharedJob) -> None:
        """Start a worker for a job that was lost wherever there are workers, if there is another node for it."""
        if self._pool.at_work(shared.job) or not {worker.node.id for worker in self._pool.workers} <= shared.lost_on:
            return
        further = [node for node in self._free_nodes() if node.id not in shared.lost_on]
        if shared.lost_on and further:
            self._pool.start(further[0])

    def _wanted(self) -> int:
        """How many workers there is work for."""
        wanted = sum(worker.work is not None for worker in self._pool.workers)
        for shared in self._waiting(timed=False):
            spare = int(min(shared.seconds_left() // WORTH_A_WORKER, len(shared.left)))
            wanted += max(spare, 0 if self._pool.at_work(shared.job) else 1)
        return wanted

    def _grow(self, count: int) -> None:
        self._pool.grow(count, self._timed.nodes)

    def _free_nodes(self) -> list[Node]:
        return self._pool.free_nodes(self._timed.nodes)

    # Hearing of it.

    def _hear(self, report: Report) -> None:
        """Wait until a worker has something to tell, or for a moment, and take it."""
        for worker, events in self._pool.hear():
            for event in events:
                if worker.work is not None:  # Else its job has failed meanwhile, or it had nothing to do.
                    self._happened(worker, worker.work, event, report)
            if worker.work is not None and worker in self._pool.workers:
                self._pool.go_on(worker)

    def _happened(self, worker: Worker, work: Work, event: Event, report: Report) -> None:
        shared = self._jobs.get(work.job.id) if work.job is not None else None
        if work.job is not None and shared is None:
            worker.work = None  # Its job failed while this was under way.
        elif isinstance(event, Logged):
            logging.getLogger(event.logger).log(event.level, "%s", event.text)
        elif isinstance(event, Broken):
            raise self._told(event.error, worker)
        elif isinstance(event, Over) and shared is None:
            worker.work, self._prepared = None, event.outcome  # type: ignore[assignment]  # Of `prepare`.
        elif shared is None:
            return  # Lost while it prepared: another does.
        elif isinstance(event, Over):
            self._done(worker, work, shared, event)
        elif isinstance(event, Lost):
            self._lost(worker, work, shared, event, report)
        else:
            self._came_home(worker, shared, event, report)

    def _came_home(self, worker: Worker, shared: SharedJob, event: Event, report: Report) -> None:
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

    def _done(self, worker: Worker, work: Work, shared: SharedJob, event: Over) -> None:
        worker.work = None
        if isinstance(event.outcome, JobFailed):
            self._job_over(shared, event.outcome)
        elif not work.blocks:
            assert worker.result is not None or event.outcome is not None
            self._job_over(shared, worker.result or dict(event.outcome or {}))

    def _job_over(self, shared: SharedJob, outcome: dict[str, Any] | JobFailed) -> None:
        del self._jobs[shared.job.id]
        self._timed.release(shared.job.id)
        for worker in [
            other for other in self._pool.workers if other.work is not None and other.work.job is shared.job
        ]:
            worker.work = None
            self._pool.end(worker)  # It works on what has failed.
        self._over.append((shared.job, outcome))

    def _told(self, error: Exception, worker: Worker) -> Exception:
        """What concerns the whole run, with the node that it was found on if there are several."""
        several = len(self._nodes.usable()) > 1
        if several and isinstance(error, RobustStackError) and not isinstance(error, SuiteError):
            return type(error)(f"on node {worker.node.host}: {error}")
        return error

    def _lost(self, worker: Worker, work: Work, shared: SharedJob, event: Lost, report: Report) -> None:
        """A worker has died: its work is done again by another."""
        worker.work = None
        before = shared.retries
        shared.lose(worker.node.id, work.retries, work.blocks)
        lost = f"its worker on {worker.node.host} was lost ({event.reason})"
        if shared.retries > self._retries:
            like = f", like {self._retries} before it" if self._retries else ""
            self._job_over(shared, JobFailed(f"{lost}{like}"))
        elif shared.retries > before:
            text = f"{lost}; it is tried again, {shared.retries} of {self._retries}"
            report("job_noticed", job=shared.job, text=text)


def _views(files: Mapping[str, np.ndarray]) -> dict[str, memoryview]:
    """The content of files without a copy of it."""
    return {name: array.data for name, array in files.items()}


def _nobody(event: str, **facts: Any) -> None:
    """Nobody is told of what happens while a run is prepared."""
