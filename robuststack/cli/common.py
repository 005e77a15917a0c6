"""What several subcommands share: options, the registry with its warnings, and the plan.

Every command imports it: what only some of them use is imported inside of functions.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from robuststack.errors import RobustStackError
from robuststack.paths import LEADERBOARD
from robuststack.plugin.registry import Registry

if TYPE_CHECKING:
    from robuststack.api.result import Result
    from robuststack.leaderboard.row import Row
    from robuststack.plan.plan import Plan
    from robuststack.running.executors.places import Where

LOG = logging.getLogger(__name__)
"""What it says is printed to standard error (`cli.call`)."""
F = TypeVar("F", bound=Callable[..., Any])


device_option = click.option(
    "--device", default="auto", show_default=True, metavar="D", help="Where to compute: auto, cpu, cuda or cuda:N."
)
leaderboard_option = click.option(
    "--leaderboard", default=LEADERBOARD, show_default=True, metavar="DIR", help="Where leaderboards lie."
)
workers_option = click.option(
    "--workers", type=click.IntRange(min=1), metavar="N",
    help="How many jobs run at a time, each in its own process.  [default: what the suite's `threads` leaves room for]",
)  # fmt: skip


def suite_arguments(function: F) -> F:
    """SUITE [--set K=V] [--device D] [--only PATTERN] [--smoke]."""
    for decorate in reversed([
        click.argument("suite", type=click.Path(dir_okay=False)),
        click.option("--set", "overrides", metavar="K=V", multiple=True,
                     help="Replace a key of the suite, for example --set train.epochs=3; repeatable."),
        device_option,
        click.option("--only", metavar="PATTERN",
                     help="Only rows whose label contains PATTERN, or matches it as a shell pattern."),
        click.option("--smoke", is_flag=True, help="Quick check that a suite runs; its figures mean nothing."),
    ]):  # fmt: skip
        function = decorate(function)
    return function


def executor_options(function: F) -> F:
    """[--executor NAME] [--address A] [--gpus-per-job N] [--retries N] [--measure-on RESOURCE]."""
    for decorate in reversed([
        click.option("--executor", default="local", show_default=True, metavar="NAME",
                     help="local: this machine; ray: the nodes of a Ray cluster (needs the extra `ray`)."),
        click.option("--address", metavar="A", help="The Ray cluster: auto or HOST:PORT.  [default: one of this machine]"),
        click.option("--gpus-per-job", type=float, metavar="N",
                     help="With ray: how much of a card a job gets, such as 0.25.  [default: 1]"),
        click.option("--retries", type=int, metavar="N",
                     help="With ray: how often a job is tried again if its worker or node dies.  [default: 2]"),
        click.option("--measure-on", metavar="RESOURCE",
                     help="With ray: measure only on nodes that have this custom resource."),
    ]):  # fmt: skip
        function = decorate(function)
    return function


def chosen_place(
    executor: str, address: str | None, gpus_per_job: float | None, retries: int | None, measure_on: str | None
) -> Where:
    """Where `executor_options` say that jobs run.

    Raises:
        RobustStackError: an option of a cluster without one, or one that means nothing.
    """
    given = {"address": address, "gpus_per_job": gpus_per_job, "retries": retries, "measure_on": measure_on}
    given = {name: value for name, value in given.items() if value is not None}
    if executor == "ray":
        from robuststack.running.executors.ray_options import RayOptions

        return RayOptions(**given)  # type: ignore[arg-type]
    if given and executor == "local":
        option = next(iter(given)).replace("_", "-")
        raise RobustStackError(f"--{option} is for a cluster; add --executor ray")
    return executor  # type: ignore[return-value]  # `place` refuses other names.


def registry_with_warnings() -> Registry:
    """The installed plugins; what is wrong with some of them goes to standard error."""
    registry = Registry()
    for line in registry.warnings():
        click.echo(f"robuststack: warning: {' '.join(line.split())}", err=True)
    return registry


def planned(
    suite: str,
    overrides: Sequence[str],
    device: str,
    only: str | None,
    smoke: bool,
    registry: Registry,
    executor: Where = "local",
    *,
    audited: bool = False,
) -> Plan:
    """The plan of a suite file for the place where it is to run, found valid; how its data was read is logged. If it is
    to be `audited` too, the jobs of that are in it."""
    from robuststack.plan.planner import make_plan
    from robuststack.running.executors.places import place
    from robuststack.suite.loading import load_suite
    from robuststack.suite.mistakes import all_mistakes

    with all_mistakes(registry):
        loaded = load_suite(suite, overrides)
    if smoke:
        from robuststack.suite.smoke import shrunk

        loaded = shrunk(loaded, registry)
    with place(executor) as where:
        plan = make_plan(loaded, registry, where.hardware(loaded, device, None))
    plan = plan.only(only) if only else plan
    for note in plan.notes:
        LOG.warning(note)
    if audited:
        from robuststack.evidence.checks.catalogue import chosen
        from robuststack.running.audit import audit_plan

        return audit_plan(plan, chosen(), registry)
    return plan


def one_point(points: Sequence[str]) -> dict[str, Any]:
    """The operating point of a command that takes one."""
    if len(points) > 1:
        written = " ".join(points)
        raise RobustStackError(f'--point is given {len(points)} times; one point is meant: --point "{written}"')
    if not points:
        return {}
    from robuststack.suite.single_model import point_of

    return point_of(points[0])


def print_result(result: Result) -> int:
    """Print the table of a run, what was written and what failed; the exit code."""
    if result.rows:
        click.echo(f"\n{result.table()}\n")
    for path in result.files:
        click.echo(f"wrote {from_here(path)}")
    return print_failures(result)


def print_suspicions(rows: Iterable[Row]) -> None:
    """Print to standard error what makes figures doubtful, beside output that other programs read."""
    from robuststack.leaderboard.suspicion import doubtful_rows

    for line in doubtful_rows(rows):
        click.echo(f"robuststack: suspicious: {line}", err=True)


def file_name(text: str) -> str:
    """A text as the name of a file."""
    return re.sub(r"[^\w.=-]+", "-", text.strip())


def from_here(path: Path) -> Path:
    """A path inside the working directory as a user would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def print_failures(result: Result) -> int:
    """Print what failed to standard error; the exit code."""
    for label, reason in result.failed.items():
        click.echo(f"failed: {label}: {reason}", err=True)
    if not result.failed:
        return 0
    missing = len(result.plan.rows) - len(result.rows)
    click.echo(f"{len(result.failed)} job(s) failed, {missing} of {len(result.plan.rows)} rows are missing", err=True)
    return 1
