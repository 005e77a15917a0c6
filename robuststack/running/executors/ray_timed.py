"""What is timed runs alone on a node: one of its workers does it, the others rest, and what is left of the node is held."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from robuststack.errors import RobustStackError
from robuststack.running.executors.ray_cluster import Node, RayCluster, Share, amounts


class Holder:
    """An actor that does nothing: while it is there, nobody else gets its processors."""

    def ready(self) -> bool:
        return True


@dataclass
class Reservation:
    """A node that is kept free of all else."""

    node: Node
    holder: Any = None
    call: Any = None
    """Answered when nothing else runs on the node any more."""


class Reservations:
    """The nodes on which something is timed."""

    def __init__(self, cluster: RayCluster, share: Share) -> None:
        self._cluster = cluster
        self._share = share
        self._by_job: dict[str, Reservation] = {}

    def check(self, nodes: Collection[Node]) -> None:
        """
        Raises:
            RobustStackError: no node has the resource on which is to be measured.
        """
        wanted = self._cluster.options.measure_on
        if wanted and not any(node.resources.get(wanted) for node in nodes):
            there = "; ".join(f"{node.host}: {amounts(node.resources)}" for node in nodes)
            raise RobustStackError(
                f"--measure-on {wanted}: no node of the cluster has this resource ({there});"
                f" `ray start --resources '{{\"{wanted}\": 1}}'` gives it to one"
            )

    @property
    def nodes(self) -> set[str]:
        """The ids of the nodes that are kept free."""
        return {reserved.node.id for reserved in self._by_job.values()}

    def fit(self, node: Node) -> bool:
        """Whether something may be timed on the node."""
        wanted = self._cluster.options.measure_on
        return node.id not in self.nodes and (not wanted or bool(node.resources.get(wanted)))

    def reserve(self, job: str, node: Node) -> None:
        """Keep a node free for a job."""
        self._by_job[job] = Reservation(node)

    def node(self, job: str) -> Node | None:
        """The node that is kept free for a job."""
        reserved = self._by_job.get(job)
        return reserved.node if reserved else None

    def free(self, job: str, workers: int) -> bool:
        """Whether the node of a job, on which so many of the run's workers are, is all theirs; asked until it is."""
        reserved = self._by_job[job]
        rest = reserved.node.cpus - workers * self._share.cpus
        if rest > 0 and reserved.holder is None:
            holder = self._cluster.ray.remote(Holder)
            on = self._cluster.on(reserved.node)
            reserved.holder = holder.options(num_cpus=rest, scheduling_strategy=on).remote()
            reserved.call = reserved.holder.ready.remote()
        if reserved.call is None:
            return True
        return bool(self._cluster.ray.wait([reserved.call], timeout=0)[0])

    def release(self, job: str) -> None:
        """The job is over, or its node is gone."""
        reserved = self._by_job.pop(job, None)
        if reserved and reserved.holder is not None:
            self._cluster.ray.kill(reserved.holder)

    def release_all(self) -> None:
        for job in [*self._by_job]:
            self.release(job)
