"""Ray clusters of several nodes on this machine, for tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_DASHBOARD": "1",
    "RAY_AUTH_MODE": "disabled",  # Else Ray writes a token into the home folder.
    "RAY_worker_niceness": "0",  # By default workers give way to all that runs beside the tests.
}


def the_ray() -> Any:
    """The package `ray`; a test is skipped without it, but never where `CI=true`."""
    if os.environ.get("CI") == "true":
        import ray

        return ray
    return pytest.importorskip("ray", reason="the extra `ray` is not installed")


@contextmanager
def cluster(*cpus: int, **node: Any) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` whose nodes, the head first, have so many processors each."""
    the_ray()
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    from ray.cluster_utils import Cluster

    made = Cluster()
    try:
        for count in cpus:
            made.add_node(num_cpus=count, include_dashboard=False, **node)
        yield made
    finally:
        made.shutdown()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
