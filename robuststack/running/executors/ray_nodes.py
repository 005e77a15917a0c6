"""The nodes that a run may use: those that are alive, have room for a job, and have the same code as the run."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping

from pydantic import BaseModel

from robuststack.errors import PluginError, RobustStackError
from robuststack.plan.job import Job
from robuststack.plan.specs import ComponentSpec
from robuststack.plugin.registry import KINDS, THIS_PROCESS, Registry
from robuststack.running.executors.ray_cluster import Node, RayCluster, Share
from robuststack.running.executors.ray_worker import NodeFacts
from robuststack.running.executors.same_code import difference, installed, meanings

LOG = logging.getLogger(__name__)
LOOK_SECONDS = 2.0
"""How long what Ray said of its nodes is believed."""
WAIT_SECONDS = 60.0
"""How long a run that has no node left waits for one."""


class Nodes:
    """The nodes of a cluster for jobs that get a `share` of one."""

    def __init__(self, cluster: RayCluster, share: Share) -> None:
        self._cluster = cluster
        self._share = share
        self._alive: list[Node] = []
        self._looked = float("-inf")
        self.packages: tuple[str, ...] = ()
        """Those that must be the same on every node."""
        self._here = installed(())
        self._refused: set[str] = set()

    def usable(self) -> list[Node]:
        """The nodes that have room for jobs."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._alive = [node for node in self._cluster.nodes() if self._share.fits(node)]
            self._looked = time.monotonic()
        return [node for node in self._alive if node.id not in self._refused]

    def forget(self) -> None:
        """Look anew: something has died."""
        self._looked = float("-inf")

    def wait(self) -> None:
        """Wait until there is a node.

        Raises:
            RobustStackError: none came in a minute.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.usable():
            if time.monotonic() > deadline:
                raise RobustStackError(
                    f"{self._cluster.no_room(self._share)}; what was finished before is kept, and the next run goes on"
                )
            time.sleep(LOOK_SECONDS)

    def check(self, jobs: Collection[Job], registry: Registry) -> None:
        """See to it that all nodes compute what this process would.

        Raises:
            RobustStackError: one of them has other code, or a job needs what is in this process alone.
        """
        self.packages = tuple(sorted({"robuststack", *_packages(jobs, registry)}))
        self._here = installed(self.packages)
        for node, facts in self._cluster.facts(self.packages).items():
            if self._share.fits(node) and (reason := self._difference(node, facts)):
                raise RobustStackError(
                    f"node {node.host}: {reason}; install the same RobustStack, plugins and torch on every node"
                )

    def admit(self, node: Node, facts: NodeFacts) -> bool:
        """Whether a node that may have come later is used; if not, the user is told."""
        reason = self._difference(node, facts)
        if reason:
            self.refuse(node, reason)
        return not reason

    def refuse(self, node: Node, reason: str) -> None:
        """Use a node no longer, and tell the user why."""
        if node.id not in self._refused:
            self._refused.add(node.id)
            LOG.warning(f"node {node.host} is not used: {reason}")

    def _difference(self, node: Node, facts: NodeFacts) -> str:
        def ask(modules: list[str]) -> Mapping[str, str]:
            answers: dict[Node, dict[str, str]] = self._cluster.ask(meanings, [node], tuple(modules))
            return answers.get(node, dict.fromkeys(modules, ""))

        return difference(self._here, facts.code, ask)


def _packages(jobs: Iterable[Job], registry: Registry) -> set[str]:
    """The top-level packages of the components of jobs.

    Raises:
        RobustStackError: one of them is a class of the running program.
    """
    specs = {spec.name: spec for job in jobs for spec in _components(job.spec)}
    for spec in specs.values():
        if spec.plugin == THIS_PROCESS:
            raise RobustStackError(
                f"{spec.name!r} is a class of this program, which workers of a cluster do not know; put it into a plugin"
            )
    targets: set[str] = set()
    for kind in KINDS:
        for name in specs:
            with contextlib.suppress(PluginError):  # Of another kind.
                targets.add(registry.find(kind, name).target)
    return {target.partition(".")[0] for target in targets}


def _components(value: object) -> Iterator[ComponentSpec]:
    """All components in a specification."""
    if isinstance(value, ComponentSpec):
        yield value
    elif isinstance(value, BaseModel):
        for _, part in value:
            yield from _components(part)
    elif isinstance(value, tuple):
        for part in value:
            yield from _components(part)
