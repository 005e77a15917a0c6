"""Processes forked from one that has loaded torch and computed nothing, each limited to an instruction set."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from checked import UNLIMITED


@dataclass(frozen=True)
class Task:
    """What a process does, on which instruction set, and what it is called."""

    name: str
    instruction_set: str
    work: Callable[[], None]


@dataclass(frozen=True)
class Ended:
    """A task whose process has ended, with an exit code or by a signal, which is a negative number."""

    task: Task
    code: int
    cpu_seconds: float

    def __str__(self) -> str:
        how = signal.Signals(-self.code).name if self.code < 0 else f"exit code {self.code}"
        return f"{self.task.instruction_set}: {self.task.name}: {how} after {self.cpu_seconds:.1f} CPU s"


def limit(instruction_set: str) -> None:
    """Limit oneDNN in this process. It asks once, with its first operation, how far it may go.

    Raises:
        RuntimeError: it has asked before.
    """
    import torch

    if instruction_set == UNLIMITED:
        return
    os.environ["ONEDNN_MAX_CPU_ISA"] = instruction_set
    if instruction_set == "AVX2" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise RuntimeError("oneDNN has been used in this process, and goes beyond AVX2")


def ended(tasks: Iterable[Task], processes: int) -> Iterator[Ended]:
    """Run tasks in forked processes, so many at a time. One that raises prints its traceback; its exit code is 1."""
    running: dict[int, Task] = {}
    for task in tasks:
        if len(running) == processes:
            yield _next(running)
        running[_started(task)] = task
    while running:
        yield _next(running)


def _started(task: Task) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            limit(task.instruction_set)
            task.work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def _next(running: dict[int, Task]) -> Ended:
    child, status, usage = os.wait3(0)
    return Ended(running.pop(child), os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)
