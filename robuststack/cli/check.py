"""robuststack check SUITE"""

from __future__ import annotations

from collections.abc import Sequence

import click

from robuststack.cli.common import planned, registry_with_warnings, suite_arguments


@click.command("check", short_help="Check a suite.")
@suite_arguments
def command(suite: str, overrides: Sequence[str], device: str, only: str | None, smoke: bool) -> None:
    """Check SUITE without running it: every key, name, option and operating point."""
    plan = planned(suite, overrides, device, only, smoke, registry_with_warnings())
    click.echo(f"{suite}: valid, {len(plan.rows)} rows from {len(plan.jobs)} jobs")
