"""robuststack submit BUNDLE"""

from __future__ import annotations

import logging

import click

from robuststack.cli.common import device_option, registry_with_warnings

LOG = logging.getLogger(__name__)


@click.command("submit")
@click.argument("bundle", type=click.Path(dir_okay=False))
@click.option("--board", default=".", show_default=True, metavar="DIR", type=click.Path(file_okay=False),
              help="A checkout of the board repository.")  # fmt: skip
@click.option("--data", metavar="FOLDER", help="Where downloaded data sets lie, as for `robuststack verify`.")
@device_option
def command(bundle: str, board: str, data: str | None, device: str) -> None:
    """Prepare a pull request that adds BUNDLE to a board repository: a branch with the bundle and its leaderboard.

    The bundle is verified first, and refused if anything in it disagrees. Nothing is pushed: the last line is the command
    that does. The files and the branch that are checked out stay as they are.

    \b
    robuststack submit float_vs_oat.bundle --board ../robust-board
    """
    from robuststack.api.submissions import submit

    made = submit(bundle, board, data=data, device=device, registry=registry_with_warnings())
    if made.large:
        LOG.warning("%s is larger than 100 MB, which most hosts refuse; let Git LFS keep bundles", bundle)
    click.echo(f"verified: {made.verification.verdict}")
    click.echo(f"made the branch {made.branch} from {made.base}, which adds {' and '.join(made.files)}")
    click.echo("Push it, and open a pull request:\n")
    click.echo(f"  {made.command}")
