"""A Ray cluster as a place to compute at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Self

from robuststack.errors import RobustStackError
from robuststack.hardware import Hardware
from robuststack.plan.plan import Plan
from robuststack.plugin.registry import Registry
from robuststack.running.executors.ray import RayExecutor
from robuststack.running.executors.ray_cluster import Node, RayCluster, Share
from robuststack.running.executors.ray_options import RayOptions
from robuststack.running.executors.ray_worker import NodeFacts
from robuststack.running.pipeline import Executor
from robuststack.running.store import Store
from robuststack.suite.suite import Suite


class RayPlace:
    """A connection to a cluster. A context: a cluster that it started ends with it."""

    def __init__(self, options: RayOptions) -> None:
        self._cluster = RayCluster(options)

    def __enter__(self) -> Self:
        self._cluster.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._cluster.__exit__(*error)

    def hardware(self, suite: Suite, device: str, workers: int | None) -> Hardware:
        """What the jobs of a suite get: the device and precision that `auto` stand for on these nodes, threads, and how
        many jobs run at a time.

        Raises:
            RobustStackError: no node has such a device, or room for a job.
        """
        if workers not in (None, 1):
            raise RobustStackError(
                f"--workers {workers} is for the processes of one machine; with --executor ray the nodes and `threads`"
                " say how many jobs run at a time"
            )
        nodes = {node: facts for node, facts in self._cluster.facts(()).items() if node.cpus}
        with_cards = {node: facts for node, facts in nodes.items() if node.cards and facts.card_precisions}
        chosen = suite.hardware(device, 1, lambda device, precision: _resolve(device, precision, nodes, with_cards))
        able = list(with_cards if chosen.kind == "cuda" else nodes)
        threads = suite.threads or self._threads(able, chosen.kind)
        share = self._share(replace(chosen, threads=threads), suite)
        slots = sum(share.fits(node) for node in able)
        if not slots:
            raise RobustStackError(self._cluster.no_room(share))
        return replace(chosen, threads=threads, workers=slots)

    def executor(
        self, plan: Plan, registry: Registry, store: Store, data_folder: Path
    ) -> AbstractContextManager[Executor]:
        """What runs the jobs of a plan; each node has a data folder of its own."""
        return RayExecutor(registry, store, plan.hardware, self._cluster, self._share(plan.hardware, plan.suite))

    def _share(self, hardware: Hardware, suite: Suite) -> Share:
        cards = self._cluster.options.gpus_per_job if hardware.kind == "cuda" else 0.0
        return Share(hardware.threads or 1, cards, suite.resources)

    def _threads(self, nodes: Iterable[Node], kind: str) -> int:
        """The threads of a job that every node has room for: all processors of the smallest node, or on cards as many as
        keep all cards busy."""
        gpus = self._cluster.options.gpus_per_job
        shares = (node.cpus * min(gpus / node.cards, 1) if kind == "cuda" else node.cpus for node in nodes)
        return max(int(min(shares, default=1)), 1)


def _resolve(
    device: str, precision: str, nodes: Mapping[Node, NodeFacts], with_cards: Mapping[Node, NodeFacts]
) -> Hardware:
    """The device and precision that `auto` stands for: cards if there are any, and bf16 if it is faster everywhere.

    Raises:
        RobustStackError: no node has such a device.
    """
    if device == "auto":
        device = "cuda" if with_cards else "cpu"
    if device not in ("cpu", "cuda"):
        raise RobustStackError(f"--device {device}: in a cluster Ray chooses the card; valid: auto, cpu, cuda")
    if device == "cuda" and not with_cards:
        raise RobustStackError(
            "--device cuda: no node of the cluster has a card that its torch can use; valid: auto, cpu"
        )
    if precision == "auto":
        able = with_cards.values() if device == "cuda" else nodes.values()
        known = {kind for facts in able for kind in (facts.card_precisions if device == "cuda" else (facts.precision,))}
        precision = "bf16" if known == {"bf16"} else "float32"
    return Hardware(device, precision)
