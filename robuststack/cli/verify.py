"""robuststack verify FILE"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import asdict

import click

from robuststack.cli.common import device_option, registry_with_warnings


@click.command("verify")
@click.argument("file", type=click.Path(dir_okay=False))
@click.option(
    "--data",
    metavar="FOLDER",
    help="Where downloaded data sets, and the author's own, lie.  [default: the data folder]",
)
@click.option("--board", metavar="BOARD", type=click.Path(dir_okay=False),
              help="A leaderboard file that must say what the bundle's leaderboard says.")  # fmt: skip
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: str, data: str | None, board: str | None, device: str, as_json: bool) -> int:
    """Check the bundle FILE: every hash, every figure of its leaderboard from its labels, and its adversarial images.

    If the data is there, images are held against the ball around the clean ones. If the weights are in it too, 5 % of the
    images of each judge job, chosen at random here, are judged again. The last line is the verdict: `re-judged`, or
    `consistent` if nothing or not all could be judged again, or `disagrees`, with exit code 1. What was not checked is
    printed with the reason. A file that is no bundle, or of which a byte was changed, is refused with exit code 2.

    \b
    robuststack verify float_vs_oat.bundle
    """
    from robuststack.api.bundles import verify

    registry = registry_with_warnings()
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        report = verify(file, data=data, device=device, board=board, registry=registry)
    if as_json:
        click.echo(json.dumps({**asdict(report), "file": str(report.file), "verdict": report.verdict}, indent=1))
    else:
        click.echo(f"{report.file}: the bundle of {report.suite}, sha256 {report.sha256}")
        told = {"agrees": report.agreed, "not checked": report.unchecked, "disagrees": report.disagreements}
        for title, lines in told.items():
            for line in lines:
                click.echo(f"{title + ':':<13}{line}")
        click.echo(report.verdict)
    return 1 if report.disagreements else 0
