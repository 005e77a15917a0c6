"""What runs on the nodes of a Ray cluster: a worker for one job at a time, and a look at what the node is."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from robuststack.errors import RobustStackError
from robuststack.hardware import Hardware, cuda_capabilities
from robuststack.paths import data_folder
from robuststack.plugin.registry import Registry
from robuststack.precision import fastest_precision
from robuststack.running.executors.local import LocalExecutor
from robuststack.running.executors.parcel import Broken, Event, Logged, Over, Reported, Work
from robuststack.running.executors.remote_store import RemoteStore
from robuststack.running.executors.same_code import Code, installed
from robuststack.running.process_memory import keep_memory
from robuststack.suite.user_model import user_modules

MOST_BYTES = 64 << 20
"""Events are handed over together until they hold so much: the run has no more of them in memory."""


@dataclass(frozen=True)
class NodeFacts:
    """A node as it sees itself."""

    host: str
    code: Code
    precision: str
    """What `auto` stands for on its processor."""
    card_precisions: tuple[str, ...]
    """The same on each of its cards that torch can use."""


def node_facts(packages: Iterable[str]) -> NodeFacts:
    """What the node is on which this is called, and what is installed there of `packages`."""
    cards = tuple(fastest_precision(card) for card in cuda_capabilities())
    return NodeFacts(socket.gethostname(), installed(packages), fastest_precision(None), cards)


class RayWorker:
    """An actor: a process that does one piece of work after another and hands over what happens meanwhile.

    The actor's own thread answers calls, and one thread beside it computes.
    """

    def __init__(self, hardware: Hardware, folder: str) -> None:
        """`folder` is where the run works: modules of the user lie there, on nodes that have it."""
        import ray

        self._hardware = hardware
        self._folder = folder
        self._outbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._store = RemoteStore(ray.get, self._outbox.put)
        threading.Thread(target=self._compute, daemon=True).start()

    def facts(self, packages: Iterable[str]) -> NodeFacts:
        """What the node is that this runs on."""
        return node_facts(packages)

    def begin(self, work: Work) -> list[Event]:
        """Start on a piece of work, and wait for what happens first."""
        self._inbox.put(work)
        return self.events()

    def events(self) -> list[Event]:
        """What has happened since the last call; waits until something has. A work ends with `Over` or `Broken`."""
        events = [self._outbox.get()]
        held = _size(events[0])
        while held < MOST_BYTES and not isinstance(events[-1], Over | Broken):
            try:
                events.append(self._outbox.get_nowait())
            except queue.Empty:
                break
            held += _size(events[-1])
        return events

    def _compute(self) -> None:
        """The life of the thread that computes."""
        with contextlib.suppress(OSError):
            os.chdir(self._folder)
        keep_memory()
        logger = logging.getLogger("robuststack")
        logger.addHandler(_Notes(self._outbox.put))
        logger.propagate = False
        with user_modules():
            executor = LocalExecutor(Registry(), self._store, data_folder(), self._hardware)
            while True:
                work = self._inbox.get()
                try:
                    self._outbox.put(Over(self._done(executor, work)))
                except RobustStackError as error:
                    self._outbox.put(Broken(error))
                except BaseException:  # One of a library's may not survive the way to the run.
                    self._outbox.put(Broken(RuntimeError(f"in a worker of the cluster:\n{traceback.format_exc()}")))

    def _done(self, executor: LocalExecutor, work: Work) -> Any:
        self._store.open(work.parcel)
        if work.job is None:
            return executor.prepare(work.pending, work.done)
        if work.blocks:
            return executor.make_blocks(work.job, work.blocks)
        executor.start(work.job)
        return executor.finished(self._report)[1]

    def _report(self, hook: str, **facts: Any) -> None:
        self._outbox.put(Reported(hook, {name: fact for name, fact in facts.items() if name != "job"}))


def _size(event: Event) -> int:
    """The bytes of the files in an event."""
    files: Mapping[str, Any] = getattr(event, "files", {})
    content = getattr(event, "content", None)
    return int(sum(file.nbytes for file in files.values()) + (content.nbytes if content is not None else 0))


class _Notes(logging.Handler):
    """Sends notes on data and models home."""

    def __init__(self, send: Callable[[Event], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send(Logged(record.name, record.levelno, record.getMessage()))
