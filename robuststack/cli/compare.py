"""robuststack leaderboard compare"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from tabulate import tabulate

from robuststack.cli.common import leaderboard_option
from robuststack.errors import RobustStackError
from robuststack.paths import expanded
from robuststack.wording import points_text

if TYPE_CHECKING:
    from robuststack.evidence.readings import Reading
    from robuststack.evidence.redrawn_front import FrontPair, Gap
    from robuststack.leaderboard.comparison import RowComparison
    from robuststack.leaderboard.difference import Difference


@click.command("compare")
@click.argument("board")
@click.argument("other", required=False)
@click.option(
    "--rows", nargs=2, metavar="A B", help="Compare two rows: their labels, or words that no other label has together."
)
@click.option(
    "--protocol", metavar="NAME", help="Of two rows, the figures by this protocol.  [default: the headline's]"
)
@click.option("--attack", metavar="LABEL", help="Of two rows, robust accuracy against this attack alone, or `worst`.")
@click.option("--reading", default="expected", show_default=True, metavar="READING",
              help="How the judging draws are read: `expected`, `majority R` (a vote of R draws) or `any N` (robust only if"
              " all of N tries are right).")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Of two leaderboards, print also the undecided figures.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@leaderboard_option
def command(
    board: str, other: str | None, rows: tuple[str, str] | None, protocol: str | None, attack: str | None,
    reading: str, everything: bool, as_json: bool, leaderboard: str,
) -> None:  # fmt: skip
    """Compare two rows of BOARD (--rows A B), a row of BOARD with one of OTHER, or the whole leaderboard OTHER, the new
    one, with BOARD, the old one. Each is a JSON file, a suite's name, or REVISION:FILE as git has it there.

    Images are paired. Training seeds are paired if both rows judge the same models, and independent otherwise. A row of one
    training seed tells of its model and not of its method. Figures that are asked together are corrected for it (Holm).
    A leaderboard without labels beside it gives an interval and no verdict; two rows, or another reading, need them.

    \b
    robuststack leaderboard compare float_vs_oat --rows "digits/resnet8/oat lambda=1" "digits/resnet8/pgd_at lambda=1"
    robuststack leaderboard compare main:leaderboard/float_vs_oat.json float_vs_oat
    """
    from robuststack.evidence.readings import Reading

    if rows:
        _rows(board, other or board, rows, protocol, attack, Reading.parse(reading), as_json, leaderboard)
        return
    for name, value in (("--protocol", protocol), ("--attack", attack)):
        if value is not None:
            raise RobustStackError(f"{name} is for two rows: name them with --rows A B")
    if other is None:
        raise RobustStackError("compare needs two leaderboards, or two rows of one: --rows A B")
    _boards(board, other, Reading.parse(reading), everything, as_json, leaderboard)


def _rows(
    board: str,
    other: str,
    rows: tuple[str, str],
    protocol: str | None,
    attack: str | None,
    reading: Reading,
    as_json: bool,
    leaderboard: str,
) -> None:
    from robuststack.leaderboard.board_lookup import labelled_rows
    from robuststack.leaderboard.comparison import compare_rows, sources

    folder = expanded(leaderboard)
    labelled = [labelled_rows(name, folder) for name in dict.fromkeys((board, other))]
    result = compare_rows(*sources(labelled[0], labelled[-1], rows, reading), protocol=protocol, attack=attack)
    click.echo(json.dumps(asdict(result), indent=1) if as_json else _rows_text(result))


def _rows_text(result: RowComparison) -> str:
    """The whole comparison of two rows."""
    seeds = max(len(figure.first_seeds) + len(figure.second_seeds) for figure in result.figures) > 2
    header = ["figure", "A %", "B %", "A - B", "p", "A is", "about"]
    body = [
        [figure.figure, _accuracy(figure.first, figure.first_seeds, seeds),
         _accuracy(figure.second, figure.second_seeds, seeds), figure.text, _p(figure), figure.verdict, figure.scope]
        for figure in result.figures
    ]  # fmt: skip
    lines = [f"A  {result.first}", f"B  {result.second}", "", tabulate(body, header, disable_numparse=True)]
    lines += ["", *_fronts_text(result.fronts)] if result.fronts else []
    said = [*result.notes, *result.doubts]
    lines += ["", *said] if said else []
    asked = f"protocol {result.protocol}, reading {result.reading}; 95 % intervals"
    corrected = (
        f"; p and the verdict are corrected for {len(result.figures)} figures (Holm), intervals are not"
        if len(result.figures) > 1
        else ""
    )
    return "\n".join([*lines, "", asked + corrected])


def _fronts_text(fronts: FrontPair) -> list[str]:
    """Equal settings are not equal operating points: what the whole curves say."""
    below = "-: no setting of the other is as accurate"
    body = [
        ["RA at A's CA or more: A - B's curve", _gap(fronts.at_first_ca) or below],
        ["RA at B's CA or more: A's curve - B", _gap(fronts.at_second_ca) or below],
        ["hypervolume: A's defense - B's", _gap(fronts.hypervolume)],
    ]
    return [tabulate(body, ["whole curves", "points"], disable_numparse=True)]


def _gap(gap: Gap | None) -> str:
    return points_text(gap.value, gap.low, gap.high) if gap else ""


def _accuracy(value: float, seeds: Sequence[float], shown: bool) -> str:
    """`52.7`, or with several seeds `52.7 (50.1 54.0 54.0)`: all of them, from the lowest to the highest."""
    return f"{value:.1f} ({' '.join(f'{seed:.1f}' for seed in sorted(seeds))})" if shown else f"{value:.1f}"


def _p(difference: Difference) -> str:
    return "-" if difference.p is None else f"{difference.p:.2g}"


def _boards(old: str, new: str, reading: Reading, everything: bool, as_json: bool, leaderboard: str) -> None:
    from robuststack.leaderboard.board_comparison import compare_boards
    from robuststack.leaderboard.board_lookup import open_board

    folder = expanded(leaderboard)
    (before, before_labels), (after, after_labels) = open_board(old, folder), open_board(new, folder)
    result = compare_boards(before, after, before_labels, after_labels, reading)
    if as_json:
        click.echo(json.dumps(asdict(result), indent=1))
        return
    shown = result.changes if everything else [*result.decisive, *result.without_verdict]
    header = ["row", "figure", "old", "new", "difference", "p", "verdict", "about"]
    body = [
        [change.label, figure.figure, f"{figure.second:.1f}", f"{figure.first:.1f}", figure.text, _p(figure),
         figure.verdict, figure.scope]
        for change in shown for figure in (change.difference,)
    ]  # fmt: skip
    if body:
        click.echo(tabulate(body, header, disable_numparse=True) + "\n")
    for where, labels in (("old", result.only_old), ("new", result.only_new)):
        for label in labels:
            click.echo(f"only in the {where} one: {label}")
    rows = len({change.label for change in result.changes})
    changed, silent = len(result.decisive), len(result.without_verdict)
    counts = f"{changed} changed, {len(result.changes) - changed - silent} undecided"
    click.echo(f"{len(result.changes)} figures of {rows} rows: {counts}, corrected together (Holm)")
    if silent:
        click.echo(f"{silent} without labels beside both: intervals alone, which give no verdict")
