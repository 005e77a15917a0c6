"""robuststack cite SUITE|BOARD"""

from __future__ import annotations

import click

from robuststack.cli.common import leaderboard_option, registry_with_warnings
from robuststack.paths import expanded


@click.command("cite")
@click.argument("target", metavar="SUITE|BOARD")
@click.option("--row", metavar="ROW", help="Only of this row: its label, or words that no other label has together.")
@leaderboard_option
def command(target: str, row: str | None, leaderboard: str) -> None:
    """Print BibTeX of what a suite or a leaderboard uses: RobustStack and its standard, defenses, attacks, networks, data.

    SUITE is a suite file. BOARD is the JSON file of a leaderboard, or the name of one in --leaderboard.

    \b
    robuststack cite float_vs_oat > references.bib
    robuststack cite suites/float_vs_oat.yaml --row "digits/resnet8/oat lambda=1"
    """
    from robuststack.leaderboard.board_lookup import load_board
    from robuststack.leaderboard.cited import citation, of_board, of_plan
    from robuststack.leaderboard.row_lookup import find_row
    from robuststack.suite.yaml_source import SUITE_FILES

    registry = registry_with_warnings()
    if expanded(target).suffix in SUITE_FILES:
        from robuststack.hardware import Hardware
        from robuststack.plan.planner import make_plan
        from robuststack.suite.loading import load_suite

        rows = of_plan(make_plan(load_suite(target), registry, Hardware("cpu", "float32")))
    else:
        rows = of_board(load_board(target, leaderboard=leaderboard))
    click.echo(citation([find_row(rows, row)] if row else rows, registry))
