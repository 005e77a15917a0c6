"""robuststack card JOB"""

from __future__ import annotations

import click

from robuststack.cli.common import file_name, from_here, leaderboard_option, registry_with_warnings
from robuststack.paths import expanded


@click.command("card")
@click.argument("job")
@click.option("--output", "-o", type=click.Path(dir_okay=False), metavar="FILE",
              help="Where to write it.  [default: named after the model, in this folder]")  # fmt: skip
@leaderboard_option
def command(job: str, output: str | None, leaderboard: str) -> None:
    """Write a model card of JOB, a train job or the beginning of its id, as Markdown.

    The figures are those of the leaderboard that scores the model, with intervals and with what an audit beside it found.
    The card also has the recipe, how to load the model, and BibTeX. Put it beside what `robuststack export` wrote.

    \b
    robuststack card train-0a1b -o README.md
    """
    registry = registry_with_warnings()
    from robuststack.leaderboard.model_card import find_model, model_card
    from robuststack.running.atomic_files import write_text

    model = find_model(job, expanded(leaderboard))
    path = expanded(output or f"{file_name(model.name)}.md")
    write_text(path, model_card(model, registry))
    click.echo(f"wrote {from_here(path)}")
