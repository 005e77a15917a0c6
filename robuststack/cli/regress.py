"""robuststack regress SUITE"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from tabulate import tabulate

from robuststack.cli.common import registry_with_warnings, workers_option
from robuststack.cli.progress import make_progress
from robuststack.cli.run_log import RunLog
from robuststack.errors import LeaderboardError
from robuststack.paths import LEADERBOARD, expanded
from robuststack.running.process_memory import keep_memory

LOGS = ".regress"


@click.command("regress")
@click.argument("suite", type=click.Path(dir_okay=False))
@click.option("--baseline", metavar="FILE", help="The leaderboard to compare with.  [default: the suite's own]")
@click.option("--set", "overrides", metavar="K=V", multiple=True, help="Replace a key of the suite; repeatable.")
@click.option("--store", metavar="DIR", help="Take finished jobs from here.  [default: none, everything is run]")
@click.option(
    "--device", metavar="D", help="Where to compute: auto, cpu, cuda or cuda:N.  [default: the suite's, else cpu]"
)
@workers_option
@click.option("--update", is_flag=True, help="Accept the new figures as the baseline.")
@click.option(
    "--log",
    "log_file",
    metavar="FILE",
    help="Where the log is written.  [default: a file in .regress if a row regressed]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; progress goes to standard error.")
def command(
    suite: str, baseline: str | None, overrides: Sequence[str], store: str | None, device: str | None,
    workers: int | None, update: bool, log_file: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Run SUITE from scratch and compare its leaderboard with a committed one.

    Exit code 0: the same. 1: a row regressed, or a job failed. 2: the suite or the baseline cannot be used. If a row
    regressed, the command names it and keeps a log of the jobs.

    \b
    robuststack regress suites/regress.yaml
    """
    from robuststack.api.runs import run
    from robuststack.leaderboard import board_labels
    from robuststack.leaderboard.board_file import read_board
    from robuststack.leaderboard.regress import refuse_unusable, regressions
    from robuststack.suite.loading import load_suite

    loaded = load_suite(suite, overrides)
    name = loaded.name
    device = device or ("cpu" if loaded.device == "auto" else loaded.device)
    computing = loaded.hardware(device)
    path = expanded(baseline) if baseline else Path(LEADERBOARD) / f"{name}.json"
    if update and path.stem != name:
        raise LeaderboardError(f"--update writes {name}.json; --baseline {baseline} is named otherwise")
    old, kept = None, {}
    if not update:
        old = read_board(path)
        kept = board_labels.load_correct(path, old.rows)
        refuse_unusable(old, kept, name, computing)
    keep_memory()
    registry = registry_with_warnings()
    quiet = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    log = RunLog(expanded(log_file) if log_file else Path(LOGS, f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.log"))
    green = False
    try:
        with log, tempfile.TemporaryDirectory() as scratch:
            with quiet, make_progress(registry):
                registry.hooks.register(log, name="log")
                result = run(
                    suite, store=store or Path(scratch, "store"),
                    leaderboard=path.parent if update else Path(scratch, "new"),
                    device=device, overrides=overrides, workers=workers, registry=registry,
                )  # fmt: skip
            if old is None:
                if not result.failed:
                    click.echo(f"accepted as the baseline: {path}", err=as_json)
                changes, rows = [], len(result.rows)
            else:
                # If jobs failed, the rows that are there are compared all the same.
                new = read_board(result.files[0]) if result.files else old.model_copy(update={"rows": ()})
                outcomes_now = board_labels.load_correct(result.files[0], new.rows) if result.files else {}
                changes, rows = regressions(old, new, kept, outcomes_now), len(new.rows)
            green = not (result.failed or changes)
            for label, reason in result.failed.items():
                log.write(f"red: {label} failed: {reason}")
            for change in changes:
                log.write(f"red: {change.label}: {change.what}: {change.old} -> {change.new}")
    finally:
        if green and not log_file:
            log.path.unlink()
        elif not green:
            click.echo(f"the log is kept in {log.path}", err=True)
    if as_json:
        facts = {
            "suite": name,
            "baseline": str(path),
            "failed": result.failed,
            "regressions": [asdict(change) for change in changes],
        }
        click.echo(json.dumps(facts, indent=1))
        return 0 if green else 1
    if changes:
        body = [[change.label, change.what, change.old, change.new] for change in changes]
        header, widths = ["row", "what", "old", "new"], [50, 30, 60, 60]
        click.echo("\n" + tabulate(body, header, disable_numparse=True, maxcolwidths=widths))
    for label, reason in result.failed.items():
        click.echo(f"failed: {label}: {reason}", err=True)
    if result.failed:
        click.echo(f"{len(result.failed)} job(s) failed, so that rows are missing", err=True)
    elif changes:
        accept = f"robuststack regress {suite} --update" + (f" --baseline {baseline}" if baseline else "")
        click.echo(f"\n{len(changes)} regression(s) against {path}; if they are meant: {accept}", err=True)
    elif old is not None:
        click.echo(f"{name}: {rows} rows as in {path}")
    return 0 if green else 1
