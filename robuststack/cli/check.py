"""robuststack check SUITE"""

from __future__ import annotations

from collections.abc import Sequence

import click

from robuststack.cli.common import planned, registry_with_warnings, suite_arguments
from robuststack.plan.estimate import jobs_seconds, left_text
from robuststack.plan.kept_builds import KeptBuilds
from robuststack.plan.pair import pairs_of
from robuststack.plan.plan import Plan
from robuststack.plan.speed import kept_speeds
from robuststack.plugin.registry import Registry
from robuststack.suite.resolve import Resolver
from robuststack.wording import counted


@click.command("check")
@suite_arguments
@click.option("--quick", is_flag=True, help="Check only what the file says. This is quick: no network is built.")
def command(suite: str, overrides: Sequence[str], device: str, only: str | None, smoke: bool, quick: bool) -> None:
    """Check SUITE without running it.

    Every key, name, option and operating point is checked, and whether every defense can be built on every architecture;
    what was built once is not built again until its code changes.
    All mistakes are printed at once, each on one line.

    \b
    robuststack check suites/float_vs_oat.yaml
    """
    registry = registry_with_warnings()
    plan = planned(suite, overrides, device, only, smoke, registry)
    if not quick:
        _build(plan, registry)
    seconds = jobs_seconds(plan, kept_speeds(plan.hardware))
    taken = f", {left_text(plan, plan.jobs, seconds)}" if len(seconds) == len(plan.jobs) else ""
    click.echo(f"{suite}: valid, {counted(len(plan.rows), 'row')} from {counted(len(plan.jobs), 'job')}{taken}")


def _build(plan: Plan, registry: Registry) -> None:
    """Build what the rows of a plan need; what was built before needs no torch.

    Raises:
        SuiteError: for all that cannot be built.
    """
    resolver = Resolver(plan.suite, registry)
    wanted = {tuple(row.facts[kind] for kind in ("dataset", "architecture", "defense")) for row in plan.rows}
    pairs = pairs_of(cell for cell in resolver.cells(resolver.attacks()) if cell.names in wanted)
    builds = KeptBuilds()
    built = [pair for pair in pairs if pair in builds]
    if len(built) < len(pairs):
        from robuststack.engine.buildable import check_buildable

        builds.keep(check_buildable(plan.suite, pairs, built))
