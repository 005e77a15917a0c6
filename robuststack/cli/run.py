"""robuststack run SUITE"""

from __future__ import annotations

from collections.abc import Sequence

import click

from robuststack.cli.audit import print_audit
from robuststack.cli.common import (
    chosen_place,
    executor_options,
    planned,
    print_result,
    registry_with_warnings,
    suite_arguments,
    workers_option,
)
from robuststack.cli.plan import show
from robuststack.cli.progress import make_progress
from robuststack.paths import LEADERBOARD, STORE
from robuststack.plan.estimate import jobs_seconds
from robuststack.plan.speed import kept_speeds
from robuststack.running.process_memory import keep_memory


@click.command("run")
@suite_arguments
@click.option("--store", default=STORE, show_default=True, metavar="DIR", help="Where jobs and results are kept.")
@click.option(
    "--leaderboard", default=LEADERBOARD, show_default=True, metavar="DIR", help="Where the table is written."
)
@click.option("--wait", default=0.0, show_default=True, metavar="SECONDS", type=click.FloatRange(min=0),
              help="How long to wait for jobs that another run holds.")  # fmt: skip
@workers_option
@executor_options
@click.option("--track", metavar="WHERE",
              help="Follow the run: in a folder for TensorBoard, by wandb:PROJECT in Weights & Biases, by mlflow:URI or"
              " mlflow:DIR in MLflow, or in what other plugins know.")  # fmt: skip
@click.option(
    "--audit",
    "audited",
    is_flag=True,
    help="Afterwards check whether the rows can be believed, as `robuststack audit` does.",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
def command(
    suite: str, overrides: Sequence[str], device: str, only: str | None, smoke: bool, store: str, leaderboard: str,
    wait: float, workers: int | None, executor: str, address: str | None, gpus_per_job: float | None,
    retries: int | None, measure_on: str | None, track: str | None, audited: bool, dry_run: bool,
) -> int:  # fmt: skip
    """Train, attack and measure what SUITE declares, and write its leaderboard.

    Finished jobs are taken from the store; an interrupted run goes on where it stopped.

    \b
    robuststack run suites/float_vs_oat.yaml
    robuststack run suites/float_vs_oat.yaml --only oat --set train.epochs=3
    """
    registry = registry_with_warnings()
    where = chosen_place(executor, address, gpus_per_job, retries, measure_on)
    if dry_run:
        plan = planned(suite, overrides, device, only, smoke, registry, where, audited=audited)
        speeds = kept_speeds(plan.hardware) if where == "local" else {}
        show(plan, store, jobs_seconds(plan, speeds), as_json=False)
        return 0
    from robuststack.api.audits import audit
    from robuststack.api.runs import run

    keep_memory()
    progress = make_progress(registry, "measured" if where == "local" else "elsewhere")
    with progress:
        result = run(
            suite, store=store, leaderboard=leaderboard, device=device, overrides=overrides, only=only, smoke=smoke,
            wait=wait, workers=workers, executor=where, track=track, registry=registry,
        )  # fmt: skip
    code = print_result(result)
    if not audited:
        return code
    with progress:
        checked = audit(
            result, store=store, leaderboard=leaderboard, wait=wait, executor=where, track=track, registry=registry
        )
    return max(code, print_audit(checked, strict=False))
