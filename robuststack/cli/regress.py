"""robuststack regress SUITE"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from tabulate import tabulate

from robuststack.cli.common import registry_with_warnings, workers_option
from robuststack.cli.progress import make_progress
from robuststack.errors import LeaderboardError
from robuststack.paths import LEADERBOARD
from robuststack.running.process_memory import keep_memory


@click.command("regress", short_help="Run a suite again and compare.")
@click.argument("suite", type=click.Path(dir_okay=False))
@click.option("--baseline", metavar="FILE", help="The leaderboard to hold it against.  [default: the suite's own]")
@click.option("--set", "overrides", metavar="K=V", multiple=True, help="Replace a key of the suite; repeatable.")
@click.option("--store", metavar="DIR", help="Take finished jobs from here.  [default: none, everything is run]")
@click.option("--device", metavar="D", help="auto, cpu, cuda or cuda:N.  [default: the suite's, else cpu]")
@workers_option
@click.option("--update", is_flag=True, help="Accept what the suite gives now as the baseline.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; progress goes to standard error.")
def command(
    suite: str, baseline: str | None, overrides: Sequence[str], store: str | None, device: str | None,
    workers: int | None, update: bool, as_json: bool,
) -> int:  # fmt: skip
    """Run SUITE from scratch and hold its leaderboard against a committed one.

    Exit code 0: the same. 1: a row regressed, or a job failed. 2: the suite or the baseline cannot be used.
    """
    from robuststack.api import run
    from robuststack.leaderboard import files, outcomes
    from robuststack.leaderboard.regress import refuse_unusable, regressions
    from robuststack.suite.loading import load_suite

    loaded = load_suite(suite, overrides)
    name = loaded.name
    device = device or ("cpu" if loaded.device == "auto" else loaded.device)
    computing = loaded.hardware(device)
    path = Path(baseline) if baseline else Path(LEADERBOARD) / f"{name}.json"
    if update and path.stem != name:
        raise LeaderboardError(f"--update writes {name}.json; --baseline {baseline} is named otherwise")
    old, kept = None, {}
    if not update:
        old = files.read(path)
        kept = outcomes.load(path, old["rows"])
        refuse_unusable(old, kept, name, computing)
    keep_memory()
    registry = registry_with_warnings()
    quiet = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    with tempfile.TemporaryDirectory() as scratch:
        with quiet, (progress := make_progress()):
            registry.hooks.register(progress, name="progress")
            result = run(
                suite, store=store or Path(scratch, "store"), leaderboard=path.parent if update else Path(scratch, "new"),
                device=device, overrides=overrides, workers=workers, registry=registry,
            )  # fmt: skip
        if result.failed:
            label, reason = next(iter(result.failed.items()))
            click.echo(f"{len(result.failed)} job(s) failed, the first: {label}: {reason}", err=True)
            return 1
        if old is None:
            click.echo(f"accepted as the baseline: {path}")
            return 0
        new = files.read(result.files[0])
        found = regressions(old, new, kept, outcomes.load(result.files[0], new["rows"]))
    if as_json:
        facts = {"suite": name, "baseline": str(path), "regressions": [asdict(one) for one in found]}
        click.echo(json.dumps(facts, indent=1))
        return 1 if found else 0
    if not found:
        click.echo(f"{name}: {len(new['rows'])} rows as in {path}")
        return 0
    body = [[one.label, one.what, one.old, one.new] for one in found]
    header, widths = ["row", "what", "old", "new"], [50, 30, 60, 60]
    click.echo("\n" + tabulate(body, header, disable_numparse=True, maxcolwidths=widths))
    accept = f"robuststack regress {suite} --update" + (f" --baseline {baseline}" if baseline else "")
    click.echo(f"\n{len(found)} regression(s) against {path}; if they are meant: {accept}", err=True)
    return 1
