"""robuststack leaderboard show | compare | build"""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from tabulate import tabulate

from robuststack.cli.common import print_suspicions
from robuststack.leaderboard.formats import DATA, FORMATS
from robuststack.paths import LEADERBOARD, expanded

folder_option = click.option(
    "--leaderboard", default=LEADERBOARD, show_default=True, metavar="DIR", help="Where leaderboards lie."
)


@click.group("leaderboard")
def command() -> None:
    """Show leaderboards that runs have written, compare two of one suite, and build the page of all of them."""


@command.command("show")
@click.argument("suite")
@click.option("--sort", metavar="KEY", help="Best first by CA, RA, or a key of the rows, such as ra.PGD-20 or macs.")
@click.option("--format", "style", type=click.Choice(list(FORMATS)), default="text", show_default=True,
              help="How it is written.")  # fmt: skip
@folder_option
def show(suite: str, sort: str | None, style: str, leaderboard: str) -> None:
    """Print the leaderboard of SUITE: its name, a JSON file, or REVISION:FILE as git has it there."""
    from robuststack.leaderboard.board_lookup import open_board
    from robuststack.leaderboard.formats import written
    from robuststack.leaderboard.ranking import ranked

    board, _ = open_board(suite, expanded(leaderboard))
    if sort:
        board = board.model_copy(update={"rows": tuple(ranked(board.rows, sort))})
    click.echo(written(board, style))
    if style in DATA:
        print_suspicions(board.rows)


@command.command("compare")
@click.argument("old")
@click.argument("new")
@click.option("--all", "everything", is_flag=True, help="Print also the figures without evidence of a change.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@folder_option
def compare(old: str, new: str, everything: bool, as_json: bool, leaderboard: str) -> None:
    """Compare the leaderboard NEW with OLD: each a JSON file, a suite's name, or REVISION:FILE as git has it there.

    Where per-sample outcomes lie beside both, images are paired: a bootstrap over them gives the interval, and McNemar's
    exact test stands beside it at deterministic points. Elsewhere the interval comes from the two printed ones. A figure
    by another protocol than the headline's is compared with its own kind, and named after it.
    """
    from robuststack.leaderboard import comparison
    from robuststack.leaderboard.board_lookup import open_board

    folder = expanded(leaderboard)
    (first, first_outcomes), (second, second_outcomes) = open_board(old, folder), open_board(new, folder)
    both = comparison.compare_boards(first, second, first_outcomes, second_outcomes)
    if as_json:
        changes = [{**asdict(change), "verdict": change.difference.verdict} for change in both.changes]
        click.echo(json.dumps({"changes": changes, "only_old": both.only_old, "only_new": both.only_new}, indent=1))
        return
    shown = [change for change in both.changes if everything or change.difference.verdict != "no evidence"]
    header = ["row", "figure", "old", "new", "difference", "McNemar p", "verdict", "by"]
    body = [
        [change.label, change.figure, f"{change.old:.1f}", f"{change.new:.1f}",
         f"{difference.value:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]",
         "-" if difference.p is None else f"{difference.p:.2g}", difference.verdict, difference.method]
        for change in shown for difference in (change.difference,)
    ]  # fmt: skip
    if body:
        click.echo(tabulate(body, header, disable_numparse=True) + "\n")
    for where, labels in (("old", both.only_old), ("new", both.only_new)):
        for label in labels:
            click.echo(f"only in the {where} one: {label}")
    rows = len({change.label for change in both.changes})
    changed = sum(change.difference.verdict != "no evidence" for change in both.changes)
    click.echo(
        f"{len(both.changes)} figures of {rows} rows: {changed} changed, {len(both.changes) - changed} without evidence"
    )


@command.command("build")
@folder_option
@click.option("-o", "--output", metavar="DIR", help="Where index.html is written.  [default: beside the leaderboards]")
def build(leaderboard: str, output: str | None) -> None:
    """Write index.html, the page of every leaderboard in a folder, and beside it `site/` with what it loads.

    It is static and needs no server and no network: open it from disk, or put the folder on any web server.
    """
    from robuststack.leaderboard import site

    built = site.build_page(expanded(leaderboard), expanded(output or leaderboard))
    size, boards = built.size / 1e6, f"{built.suites} leaderboard{'s' * (built.suites != 1)}"
    click.echo(f"wrote {built.index}: {boards}, {built.rows} rows, {size:.1f} MB with {site.ASSETS}/")
