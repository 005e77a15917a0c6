"""A Ray cluster: how it is reached, which nodes it has, and what a job gets there."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from robuststack.errors import RobustStackError
from robuststack.processor import cpu_threads
from robuststack.running.executors.ray_options import RayOptions
from robuststack.running.executors.ray_worker import NodeFacts, node_facts

ANSWER_SECONDS = 30.0
"""How long an address is tried."""
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Nothing is reported to Ray's makers, and in a cluster that a run starts its workers give way to nobody, as its own
processes would not."""


@dataclass(frozen=True)
class Node:
    """A node of the cluster that is alive."""

    id: str
    host: str = field(compare=False)
    resources: Mapping[str, float] = field(compare=False)

    @property
    def cpus(self) -> int:
        return int(self.resources.get("CPU", 0))

    @property
    def cards(self) -> float:
        return self.resources.get("GPU", 0.0)


@dataclass(frozen=True)
class Share:
    """What a job gets of its node."""

    cpus: int
    cards: float = 0.0
    others: Mapping[str, float] = field(default_factory=dict)
    """Custom resources."""

    def fits(self, node: Node) -> int:
        """How many such jobs a node has room for."""
        return min(int(node.resources.get(name, 0.0) / amount + 1e-6) for name, amount in self.wanted.items())

    @property
    def wanted(self) -> dict[str, float]:
        """Each of Ray's resources that a job needs, and how much of it."""
        return {"CPU": float(self.cpus), **({"GPU": self.cards} if self.cards else {}), **self.others}

    @property
    def options(self) -> dict[str, Any]:
        """The same in Ray's words."""
        return {"num_cpus": self.cpus, "num_gpus": self.cards, "resources": dict(self.others)}


class RayCluster:
    """A connection to a cluster. A context: a cluster that it started ends with it.

    Raises:
        RobustStackError: Ray is not installed, or nobody answers at the address.
    """

    def __init__(self, options: RayOptions) -> None:
        self.options = options
        self._left = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_environment())
            self.ray = imported_ray()
            if not self.ray.is_initialized():  # Else it is the program's own.
                self._connect()
                stack.callback(self.ray.shutdown)
            self._left = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._left.close()

    def _connect(self) -> None:
        address = self.options.address
        quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
        try:
            if address is None:
                self.ray.init(address="local", num_cpus=cpu_threads(), include_dashboard=False, **quiet)
                return
            if address != "auto":
                wait_for(address)
            self.ray.init(address=address, **quiet)
        except RobustStackError:
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
            where = f"--address {address}" if address else "--executor ray"
            hint = "; `ray start --head` starts a cluster on this machine" if address == "auto" else ""
            raise RobustStackError(f"{where}: Ray cannot be used: {reason}{hint}") from None

    def nodes(self) -> list[Node]:
        """The nodes that are alive now, in a stable order."""
        alive = [
            Node(node["NodeID"], _host(node), dict(node["Resources"])) for node in self.ray.nodes() if node["Alive"]
        ]
        return sorted(alive, key=lambda node: (node.host, node.id))

    def on(self, node: Node) -> Any:
        """Ray's way to say that something is to run on a node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node.id, soft=False)

    def ask(self, function: Callable[..., Any], nodes: Iterable[Node], *arguments: Any) -> dict[Node, Any]:
        """What a function of RobustStack's returns on each node; nodes that die meanwhile are left out.

        Raises:
            RobustStackError: it cannot be called there.
        """
        asked = self.ray.remote(num_cpus=0, max_retries=2)(function)
        calls = {node: asked.options(scheduling_strategy=self.on(node)).remote(*arguments) for node in nodes}
        answers: dict[Node, Any] = {}
        for node, call in calls.items():
            try:
                answers[node] = self.ray.get(call)
            except (self.ray.exceptions.NodeDiedError, self.ray.exceptions.TaskUnschedulableError):
                continue  # It died while it was asked, or before: Ray tells of a node's end late.
            except self.ray.exceptions.RayError as error:
                reason = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
                raise RobustStackError(
                    f"node {node.host}: RobustStack cannot be called there ({reason}); install the same RobustStack and"
                    " plugins on every node"
                ) from None
        return answers

    def facts(self, packages: Iterable[str]) -> dict[Node, NodeFacts]:
        """What each node says of itself, and of what is installed there of `packages`."""
        return self.ask(node_facts, self.nodes(), tuple(packages))

    def no_room(self, share: Share) -> str:
        """That no node has room for a job, what it needs, and what there is."""
        there = "; ".join(f"{node.host}: {amounts(node.resources)}" for node in self.nodes()) or "it has no node"
        return (
            f"a job needs {amounts(share.wanted)} on one node, and no node of the cluster has that ({there}); see `threads`"
            " and `resources` in the suite"
        )


def amounts(resources: Mapping[str, float]) -> str:
    """Resources in words: `2 CPU, 0.25 GPU`; what Ray keeps for itself is left out."""
    own = ("memory", "object_store_memory")
    shown = [(name, amount) for name, amount in resources.items() if name not in own and not name.startswith("node:")]
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(shown)) or "nothing"


def imported_ray() -> Any:
    """The package `ray`.

    Raises:
        RobustStackError: it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise RobustStackError(
            "--executor ray: Ray is not installed; python -m pip install 'robuststack[ray]' adds it"
        ) from None
    return ray


def wait_for(address: str, seconds: float = ANSWER_SECONDS) -> None:
    """Wait until somebody answers at an address, `HOST:PORT` or `ray://HOST:PORT`.

    Raises:
        RobustStackError: it is no address, or nobody does in that time.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise RobustStackError(f"--address {address}: HOST:PORT, ray://HOST:PORT or auto is meant")
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=max(left, 0.1)).close()
            return
        except OSError as error:
            if time.monotonic() + 1 >= deadline:
                reason = error.strerror or error
                raise RobustStackError(f"--address {address}: no answer in {seconds:.0f} s ({reason})") from None
            time.sleep(1)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Ray's variables for the length of a run; those that the user has set stand."""
    added = [name for name in ENVIRONMENT if name not in os.environ]
    os.environ.update({name: ENVIRONMENT[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _host(node: Mapping[str, Any]) -> str:
    return str(node.get("NodeManagerHostname") or node["NodeManagerAddress"])
