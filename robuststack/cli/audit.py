"""robuststack audit SUITE|BOARD"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from robuststack.cli.common import device_option, from_here, registry_with_warnings, workers_option
from robuststack.cli.progress import make_progress
from robuststack.paths import LEADERBOARD, STORE
from robuststack.plan.audit import IMAGES
from robuststack.running.process_memory import keep_memory

if TYPE_CHECKING:
    from robuststack.api.audits import AuditResult


@click.command("audit")
@click.argument("target", metavar="SUITE|BOARD")
@click.option(
    "--only", metavar="PATTERN", help="Only rows whose label contains PATTERN, or matches it as a shell pattern."
)
@click.option("--checks", "checks", metavar="NAMES", multiple=True,
              help="Run only these checks, such as STEPS,STRONGER; repeatable.  [default: all that apply]")  # fmt: skip
@click.option("--images", default=IMAGES, show_default=True, metavar="N", type=click.IntRange(min=1),
              help="How many images of each row the checks look at: a seeded sample.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit with code 1 if a check finds a contradiction (broken).")
@click.option("--set", "overrides", metavar="K=V", multiple=True, help="Replace a key of the suite; repeatable.")
@device_option
@click.option("--store", default=STORE, show_default=True, metavar="DIR", help="Where jobs and results are kept.")
@click.option("--leaderboard", default=LEADERBOARD, show_default=True, metavar="DIR",
              help="Where leaderboards are looked for, and the audit of a suite is written.")  # fmt: skip
@click.option("--wait", default=0.0, show_default=True, metavar="SECONDS", type=click.FloatRange(min=0),
              help="How long to wait for jobs that another run holds.")  # fmt: skip
@workers_option
@click.option("--json", "as_json", is_flag=True, help="Print the audit as JSON; progress goes to standard error.")
def command(
    target: str, only: str | None, checks: Sequence[str], images: int, strict: bool, overrides: Sequence[str],
    device: str, store: str, leaderboard: str, wait: float, workers: int | None, as_json: bool,
) -> int:  # fmt: skip
    """Check whether the figures of a suite or a leaderboard can be believed.

    SUITE is a suite file. BOARD is the JSON file of a leaderboard, or the name of one in --leaderboard; its suite is
    audited with the overrides that it was made with. Each check attacks or looks at a sample of a row's images and gives a
    verdict: holds, weak (a stronger attack lowers the figure), broken (a contradiction), open (these images cannot tell),
    or none (it does not apply). The verdicts are written to SUITE.audit.json and
    SUITE.audit.md beside the leaderboard.

    Jobs are taken from the store, and what is missing is run: models and attacks of the suite, too.

    \b
    robuststack audit float_vs_oat
    """
    from robuststack.api.audits import audit

    keep_memory()
    registry = registry_with_warnings()
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(), make_progress(registry):
        result = audit(
            target, only=only, checks=checks, images=images, store=store, leaderboard=leaderboard, device=device,
            overrides=overrides, wait=wait, workers=workers, registry=registry,
        )  # fmt: skip
    return print_audit(result, strict=strict, as_json=as_json)


def print_audit(result: AuditResult, *, strict: bool, as_json: bool = False) -> int:
    """Print an audit, what was written and what failed; the exit code."""
    from robuststack.leaderboard.audit import audit_json

    click.echo(audit_json(result.audit) if as_json else f"\n{result.table()}\n")
    for path in result.files:
        click.echo(f"wrote {from_here(path)}", err=as_json)
    for label, reason in result.failed.items():
        click.echo(f"failed: {label}: {reason}", err=True)
    broken = result.audit.broken
    if strict and broken:
        click.echo(f"broken: {', '.join(broken)}", err=True)
    return 1 if result.failed or (strict and broken) else 0
