"""The speed of a plan's networks on this machine: what is kept of it, and what is measured now."""

from __future__ import annotations

from collections.abc import Sequence

import click

from robuststack.errors import RobustStackError
from robuststack.hardware import Hardware
from robuststack.plan.plan import Plan
from robuststack.plan.speed import Network, NetworkSpeed, keep_speeds, kept_speeds, networks
from robuststack.plugin.registry import Registry
from robuststack.suite.user_model import user_modules


def measured_speeds(
    plan: Plan, registry: Registry | None, jobs: Sequence[str], *, anew: bool = False
) -> dict[str, NetworkSpeed]:
    """The speeds of the networks that some jobs run; those that are not known are measured and kept.

    It measures in this process, which imports torch; without a `registry` it does so in a process of its own, with the
    plugins that are installed. `anew` measures all of them. A network that cannot be measured is left out, with a note.
    """
    kept = kept_speeds(plan.hardware)
    of_job = networks(plan)
    asked = {of_job[job].key: of_job[job] for job in jobs if job in of_job}
    missing = [network for key, network in asked.items() if anew or key not in kept]
    if not missing:
        return kept
    if registry is not None:
        found = _measure(missing, plan.hardware, registry)
    else:
        found = _elsewhere(missing, plan.hardware)
    for reason in found:
        if isinstance(reason, str):
            click.echo(f"robuststack: note: a network's speed is not known: {reason}", err=True)
    new = {network.key: speed for network, speed in zip(missing, found, strict=False) if not isinstance(speed, str)}
    try:
        keep_speeds(plan.hardware, new)
    except RobustStackError as error:
        click.echo(f"robuststack: note: the speed of this machine is not kept: {error}", err=True)
    return kept | new


def _elsewhere(wanted: Sequence[Network], hardware: Hardware) -> list[NetworkSpeed | str]:
    """The same as `_measure`, in a process of its own."""
    import multiprocessing
    from concurrent.futures import BrokenExecutor, ProcessPoolExecutor

    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        try:
            return process.submit(_measure, wanted, hardware).result()
        except BrokenExecutor:
            return ["the process that measured it was killed; was it out of memory?"]


def _measure(
    wanted: Sequence[Network], hardware: Hardware, registry: Registry | None = None
) -> list[NetworkSpeed | str]:
    """The speed of each network, or why it cannot be measured."""
    from robuststack.engine.network_speed import network_speed

    registry = registry or Registry()
    speeds: list[NetworkSpeed | str] = []
    with user_modules():
        for network in wanted:
            try:
                speeds.append(network_speed(network, registry, hardware))
            except RobustStackError as error:
                speeds.append(str(error))
            except Exception as error:  # The run itself says what is wrong with a network, and where.
                speeds.append(f"{network.name}: {type(error).__name__}: {error}")
    return speeds
