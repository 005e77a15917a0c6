"""Runs several jobs at a time, each in a process of its own; this process imports no torch."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

from robuststack.errors import JobFailed, RobustStackError
from robuststack.hardware import Hardware, cuda_capabilities
from robuststack.plan.job import Job
from robuststack.plan.source_digest import known_sources
from robuststack.plugin.registry import Registry
from robuststack.running.executors.local import LocalExecutor
from robuststack.running.executors.planned_sources import PlannedSources
from robuststack.running.pipeline import Report, room_on_machine
from robuststack.running.process_memory import keep_memory
from robuststack.running.store import Store
from robuststack.suite.user_model import user_modules

INNERMOST = 6
"""Lines that are told of a process that a signal killed."""
PRELOADED = ["torch", "torch._dynamo"]
"""What takes a process seconds to import: torch, and what its first gradient and first optimizer import."""


@dataclass
class _Worker:
    process: BaseProcess
    trace: Path
    """Where it writes at which line it was when a fault killed it."""
    connection: Connection
    job: Job | None = None

    def send(self, kind: str, *facts: Any) -> None:
        with contextlib.suppress(OSError):  # It died: what is received next says so.
            self.connection.send((kind, *facts))

    def receive(self) -> tuple[str, Any]:
        """What the worker says next.

        Raises:
            EOFError: it is gone.
        """
        try:
            kind, fact = self.connection.recv()
        except ConnectionError:
            raise EOFError from None
        return kind, fact

    def epitaph(self) -> str:
        """How the process ended."""
        self.process.join()
        code = self.process.exitcode or 0
        if code >= 0:
            return f"its process ended with exit code {code}"
        reason = "; was it out of memory? run with fewer --workers" if -code == signal.SIGKILL else ""
        return f"its process was killed by {signal.Signals(-code).name}{reason}{self._place()}"

    def _place(self) -> str:
        """The innermost lines of Python that it was at, from what `faulthandler` wrote; those of Python's own importer in
        between say nothing."""
        with contextlib.suppress(OSError):
            lines = re.findall(r'File "([^"<][^"]*)", line (\d+) in (\S+)', self.trace.read_text(errors="replace"))
            if lines:
                return ", in " + " < ".join(
                    f"{Path(file).name}:{line} {name}" for file, line, name in lines[:INNERMOST]
                )
        return ""


def placed(hardware: Hardware) -> Iterator[Hardware]:
    """What each process after the other gets: where the run is on `cuda`, and no card is named, the cards in turn."""
    cards = len(cuda_capabilities()) if hardware.device == "cuda" else 0
    while True:
        yield from (replace(hardware, device=f"cuda:{card}") for card in range(cards)) if cards > 1 else (hardware,)


class WorkersExecutor:
    """As many processes as `hardware.workers`, each a `LocalExecutor` with plugins found anew. A context: it ends them.

    This process is not forked, since it may have used threads or CUDA (`starter` says what is). A script that uses this
    guards its beginning with `if __name__ == "__main__"`, as for any `multiprocessing`.
    """

    def __init__(self, store: Path, data_folder: Path, hardware: Hardware) -> None:
        self.slots = hardware.workers
        self._make = (store, data_folder)
        self._places = placed(hardware)
        self._planned: Mapping[str, str] = {}
        self._workers: list[_Worker] = []
        self._traces = tempfile.TemporaryDirectory()
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers = []
        self._traces.cleanup()

    def prepare(self, pending: Sequence[Job], done: Sequence[Job]) -> dict[str, JobFailed]:
        """Let one process load the data and call the models, while the others import torch.

        Raises:
            RobustStackError: what it found.
        """
        self._planned = known_sources(part for job in pending for part in job.digest.split("."))
        self._grow(min(self.slots, len(pending)))
        first = self._workers[0]
        first.send("prepare", pending, done)
        try:
            kind, fact = first.receive()
        except EOFError:
            raise RobustStackError(f"nothing could be prepared: {first.epitaph()}") from None
        if kind == "error":
            raise fact
        unfit: dict[str, JobFailed] = fact
        return unfit

    def has_room(self, job: Job, running: Collection[Job]) -> bool:
        return room_on_machine(job, running, self.slots)

    def start(self, job: Job) -> None:
        """Hand the job to a process that has none."""
        free = next((worker for worker in self._workers if worker.job is None), None)
        if free is None:
            self._grow(len(self._workers) + 1)
            free = self._workers[-1]
        free.job = job
        free.send("run", job)

    def finished(self, report: Report) -> tuple[Job, dict[str, Any] | JobFailed]:
        """Wait until one of the jobs is over. A process that dies fails its job; the next job gets a new one."""
        while True:
            heard = wait([worker.connection for worker in self._workers])
            for worker in [speaker for speaker in self._workers if speaker.connection in heard]:
                job = worker.job
                try:
                    kind, fact = worker.receive()
                except EOFError:
                    self._workers.remove(worker)
                    worker.connection.close()
                    if job is not None:
                        return job, JobFailed(worker.epitaph())
                    continue
                if kind == "report":
                    event, facts = fact
                    report(event, **facts)
                elif kind == "error":
                    raise fact
                elif job is not None:
                    worker.job = None
                    return job, fact

    def _grow(self, count: int) -> None:
        while len(self._workers) < count:
            hardware = next(self._places)
            context = starter(hardware.device)
            ours, theirs = context.Pipe()
            trace = Path(self._traces.name, str(self._started))
            self._started += 1
            arguments = (theirs, dict(os.environ), trace, *self._make, hardware, self._planned)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._workers.append(_Worker(process, trace, ours))


def starter(device: str) -> SpawnContext | ForkServerContext:
    """What starts the processes of workers on a device.

    On a processor, on Linux, they are forks of a server that has imported torch and computed nothing: all of them together
    import it once, and share its memory. The server ends with this process. A CUDA card may refuse forks of a process
    that has asked for it, as an import may, and other systems have libraries that cannot be forked: there each process is
    a new one.
    """
    if sys.platform != "linux" or device != "cpu":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _work(
    connection: Connection,
    environment: Mapping[str, str],
    trace: Path,
    store: Path,
    data_folder: Path,
    hardware: Hardware,
    planned: Mapping[str, str],
) -> None:
    """A worker's life: take jobs until the other end is gone. `planned` are the sources that the plan was made with."""
    _settle(environment)
    keep_memory()
    last_words = trace.open("w")  # Open as long as the process lives.
    faulthandler.enable(last_words)
    sys.stdout = sys.stderr  # What libraries print must not mix with what the command prints.

    def report(event: str, **facts: Any) -> None:
        connection.send(("report", (event, facts)))

    with contextlib.suppress(EOFError, BrokenPipeError), user_modules():
        executor = LocalExecutor(Registry(), Store(store, create=False), data_folder, hardware)
        sources = PlannedSources(planned)
        try:
            executor.workspace  # noqa: B018  # Imports torch, before there is anything to do.
        except RobustStackError as error:
            connection.send(("error", error))
            return
        while True:
            kind, *facts = connection.recv()
            try:
                if kind == "prepare":
                    connection.send(("prepared", executor.prepare(*facts)))
                else:
                    sources.check()
                    executor.start(*facts)
                    connection.send(("over", executor.finished(report)[1]))
            except (EOFError, BrokenPipeError):
                raise
            except RobustStackError as error:
                connection.send(("error", error))
            except Exception:  # One of a library's may not survive the way to the other process.
                connection.send(("error", RuntimeError(f"in a worker process:\n{traceback.format_exc()}")))


def _settle(environment: Mapping[str, str]) -> None:
    """Variables, signals, and an end even where the parent was killed, so that nobody trains on without holding the job's
    lock."""
    os.environ.clear()  # The server that this process is forked from may have started with others.
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # A Ctrl-C reaches the whole group; the parent ends its workers.
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
