"""Where a run computes, by name: on this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from robuststack.did_you_mean import did_you_mean
from robuststack.errors import RobustStackError
from robuststack.hardware import Hardware
from robuststack.plan.plan import Plan
from robuststack.plugin.registry import Registry
from robuststack.running.executors import executor
from robuststack.running.executors.ray_options import RayOptions
from robuststack.running.store import Store
from robuststack.suite.suite import Suite

if TYPE_CHECKING:
    from robuststack.running.pipeline import Executor

Where = Literal["local", "ray"] | RayOptions
NAMES = ("local", "ray")


class Place(Protocol):
    """Where a run computes."""

    def hardware(self, suite: Suite, device: str, workers: int | None) -> Hardware:
        """What the jobs of a suite get, `workers` at a time (None: as many as there is room for)."""

    def executor(
        self, plan: Plan, registry: Registry, store: Store, data_folder: Path
    ) -> AbstractContextManager[Executor]:
        """What runs the jobs of a plan."""


class ThisMachine:
    """One process, or several."""

    def hardware(self, suite: Suite, device: str, workers: int | None) -> Hardware:
        return suite.hardware(device, workers)

    def executor(
        self, plan: Plan, registry: Registry, store: Store, data_folder: Path
    ) -> AbstractContextManager[Executor]:
        return executor(registry, store, data_folder, plan.hardware)


@contextmanager
def place(where: Where) -> Iterator[Place]:
    """A place to compute at; the connection to a cluster is closed afterwards.

    Raises:
        RobustStackError: an unknown name, or a cluster that cannot be used.
    """
    if where == "local":
        yield ThisMachine()
        return
    if not isinstance(where, RayOptions) and where != "ray":
        raise RobustStackError(f"--executor {where}: {did_you_mean(str(where), NAMES)}")
    from robuststack.running.executors.ray_place import RayPlace

    with RayPlace(where if isinstance(where, RayOptions) else RayOptions()) as cluster:
        yield cluster
