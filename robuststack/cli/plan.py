"""robuststack plan SUITE"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click

from robuststack.cli.common import planned, registry_with_warnings, suite_arguments
from robuststack.cli.machine_speed import measured_speeds
from robuststack.paths import STORE
from robuststack.plan.estimate import jobs_seconds, left_text
from robuststack.plan.plan import Plan
from robuststack.plan.speed import kept_speeds
from robuststack.running.cached import look_up
from robuststack.running.store import Store
from robuststack.wording import counted


@click.command("plan")
@suite_arguments
@click.option("--store", default=STORE, show_default=True, metavar="DIR", help="Where finished jobs are looked for.")
@click.option(
    "--minutes", is_flag=True, help="Say how long it takes; measure how fast this machine is, if that is not known."
)
@click.option("--measure-again", is_flag=True, help="The same, even if it is known.")
@click.option("--audit", "audited", is_flag=True, help="The jobs of the suite's audit, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    suite: str, overrides: Sequence[str], device: str, only: str | None, smoke: bool, store: str, minutes: bool,
    measure_again: bool, audited: bool, as_json: bool,
) -> None:  # fmt: skip
    """Show the jobs of SUITE, which of them are done, and how long the others take.

    How fast this machine computes a network is measured once, in about two seconds: by `--minutes`, or by a run of more
    than a minute. Until then only the work is known. An audit may add some jobs, which confirm on other images what it
    finds.

    \b
    robuststack plan suites/float_vs_oat.yaml --minutes
    """
    registry = registry_with_warnings()
    plan = planned(suite, overrides, device, only, smoke, registry, audited=audited)
    if minutes or measure_again:
        speeds = measured_speeds(plan, registry, [job.id for job in plan.jobs], anew=measure_again)
    else:
        speeds = kept_speeds(plan.hardware)
    show(plan, store, jobs_seconds(plan, speeds), as_json=as_json)


def show(plan: Plan, store: str, seconds: Mapping[str, float], *, as_json: bool) -> None:
    """Print the jobs with their state in the store. `seconds` are what they take, as far as it is known."""
    storage = Store(store, create=False)
    results = look_up(plan.jobs, storage)
    done = {job.id: job.id in results for job in plan.jobs}
    if as_json:
        jobs = [
            {"id": job.id, "kind": job.kind, "label": job.label, "cached": done[job.id], "work": job.work,
             "seconds": round(seconds[job.id], 3) if job.id in seconds else None, "needs": list(job.needs),
             "spec": job.spec.plain()}
            for job in plan.jobs
        ]  # fmt: skip
        rows = [{"label": row.label, "jobs": sorted(row.jobs())} for row in plan.rows]
        facts = {"suite": plan.suite.name, "device": plan.hardware.device, "precision": plan.hardware.precision}
        click.echo(json.dumps({**facts, "jobs": jobs, "rows": rows}, indent=1))
        return
    known = all(job.id in seconds for job in plan.jobs)
    costs = {job.id: seconds[job.id] if known else job.work for job in plan.jobs}
    total = sum(costs.values()) or 1.0
    click.echo(f"{plan.suite.name} on {plan.hardware.device}, {plan.hardware.precision}")
    for job in plan.jobs:
        state = "done" if done[job.id] else f"{100 * costs[job.id] / total:4.1f} %"
        click.echo(f"  {state:>6}  {job.id}  {job.label}")
    left = [job for job in plan.jobs if not done[job.id]]
    share = 100 * sum(costs[job.id] for job in left) / total
    click.echo(
        f"{counted(len(plan.rows), 'row')}, {counted(len(plan.jobs), 'job')}, {sum(done.values())} done;"
        f" to do: {left_text(plan, left, seconds)}"
        f" ({share:.0f} % of the suite's work)"
    )
    if left and not known:
        click.echo("`robuststack plan --minutes` measures how long that takes on this machine")
