"""robuststack leaderboard show | compare | build"""

from __future__ import annotations

import click

from robuststack.cli import compare
from robuststack.cli.common import leaderboard_option, print_suspicions
from robuststack.leaderboard.formats import DATA, FORMATS
from robuststack.paths import expanded


@click.group("leaderboard")
def command() -> None:
    """Show leaderboards that runs have written, compare rows or whole leaderboards, and build the page of all of them.

    \b
    robuststack leaderboard show float_vs_oat --sort RA
    robuststack leaderboard build -o page
    """


@command.command("show")
@click.argument("suite")
@click.option("--sort", metavar="KEY", help="Best first by CA, RA, or a key of the rows, such as ra.PGD-20 or macs.")
@click.option("--format", "style", type=click.Choice(list(FORMATS)), default="text", show_default=True,
              help="The format of the output.")  # fmt: skip
@click.option("--reading", default="expected", show_default=True, metavar="READING",
              help="How the judging draws are read: `expected`, `majority R` (a vote of R draws) or `any N` (robust only if"
              " all of N tries are right); from the labels beside the leaderboard.")  # fmt: skip
@click.option(
    "--columns", metavar="NAMES", help="Only these columns behind the defense and its point, such as CA,PGD-20,worst."
)
@click.option("--bold", is_flag=True, help="The best row of each column in bold, in Markdown and LaTeX.")
@leaderboard_option
def show(
    suite: str, sort: str | None, style: str, reading: str, columns: str | None, bold: bool, leaderboard: str
) -> None:
    """Print the leaderboard of SUITE: its name, a JSON file, or REVISION:FILE as git has it there.

    If an audit lies beside it, a column says what it found of each row, by the expected reading. Bold says which figure is
    the best, and not that the others are worse: `leaderboard compare` tells.

    \b
    robuststack leaderboard show float_vs_oat --format latex --columns "CA,PGD-7,worst,ms, batch 1" --bold
    """
    from robuststack.evidence.readings import Reading
    from robuststack.leaderboard.board_lookup import audits_beside, open_board
    from robuststack.leaderboard.columns import Shown, column_names
    from robuststack.leaderboard.formats import written
    from robuststack.leaderboard.ranking import ranked
    from robuststack.leaderboard.rereading import with_reading

    name = str(Reading.parse(reading))
    board, labels = open_board(suite, expanded(leaderboard))
    board = with_reading(board, name, labels)
    if sort:
        ranks = {row.label: rank for rank, row in enumerate(ranked([row.under(name) for row in board.rows], sort))}
        board = board.model_copy(update={"rows": tuple(sorted(board.rows, key=lambda row: ranks[row.label]))})
    audits = audits_beside(suite, expanded(leaderboard), board.rows)
    click.echo(written(board, style, audits, reading=name, shown=Shown(column_names(columns or ""), bold)))
    if style in DATA:
        print_suspicions(board.rows)


command.add_command(compare.command)


@command.command("build")
@leaderboard_option
@click.option("-o", "--output", metavar="DIR", help="Where index.html is written.  [default: beside the leaderboards]")
def build(leaderboard: str, output: str | None) -> None:
    """Write index.html, the page of every leaderboard in a folder, and beside it `site/` with what it loads.

    It is static and needs no server and no network: open it from disk, or put the folder on any web server.

    \b
    robuststack leaderboard build -o page
    """
    from robuststack.leaderboard import site

    built = site.build_page(expanded(leaderboard), expanded(output or leaderboard))
    size, boards = built.size / 1e6, f"{built.suites} leaderboard{'s' * (built.suites != 1)}"
    click.echo(f"wrote {built.index}: {boards}, {built.rows} rows, {size:.1f} MB with {site.ASSETS}/")
