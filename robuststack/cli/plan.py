"""robuststack plan SUITE"""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from robuststack.cli.common import planned, registry_with_warnings, suite_arguments
from robuststack.paths import STORE
from robuststack.plan.plan import Plan
from robuststack.running.cached import look_up
from robuststack.running.store import Store


@click.command("plan")
@suite_arguments
@click.option("--store", default=STORE, show_default=True, metavar="DIR", help="Where finished jobs are looked for.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    suite: str, overrides: Sequence[str], device: str, only: str | None, smoke: bool, store: str, as_json: bool
) -> None:
    """Show the jobs of SUITE, which of them are done, and an estimate of the work."""
    show(planned(suite, overrides, device, only, smoke, registry_with_warnings()), store, as_json=as_json)


def show(plan: Plan, store: str, *, as_json: bool) -> None:
    """Print the jobs with their state in the store."""
    storage = Store(store, create=False)
    results = look_up(plan.jobs, storage)
    done = {job.id: job.id in results for job in plan.jobs}
    if as_json:
        jobs = [
            {"id": job.id, "kind": job.kind, "label": job.label, "cached": done[job.id], "work": job.work,
             "needs": list(job.needs), "spec": job.spec.plain()}
            for job in plan.jobs
        ]  # fmt: skip
        rows = [{"label": row.label, "jobs": sorted(row.jobs())} for row in plan.rows]
        facts = {"suite": plan.suite.name, "device": plan.hardware.device, "precision": plan.hardware.precision}
        click.echo(json.dumps({**facts, "jobs": jobs, "rows": rows}, indent=1))
        return
    total = sum(job.work for job in plan.jobs) or 1.0
    click.echo(f"{plan.suite.name} on {plan.hardware.device}, {plan.hardware.precision}")
    for job in plan.jobs:
        state = "done" if done[job.id] else f"{100 * job.work / total:4.1f} %"
        click.echo(f"  {state:>6}  {job.id}  {job.label}")
    left = sum(job.work for job in plan.jobs if not done[job.id])
    click.echo(
        f"{len(plan.rows)} rows, {len(plan.jobs)} jobs, {sum(done.values())} done; to do:"
        f" {left:.3g} forward-pass pixels ({100 * left / total:.0f} % of the suite's work)"
    )
