"""robuststack bundle SUITE|BOARD"""

from __future__ import annotations

import click

from robuststack.cli.common import from_here, leaderboard_option, registry_with_warnings
from robuststack.paths import STORE


@click.command("bundle")
@click.argument("target", metavar="SUITE|BOARD")
@click.option("--output", "-o", type=click.Path(dir_okay=False), metavar="FILE",
              help="Where to write it.  [default: SUITE.bundle, in this folder]")  # fmt: skip
@click.option("--weights", is_flag=True, help="Add the trained weights: `verify` can then judge images again.")
@click.option("--store", default=STORE, show_default=True, metavar="DIR", help="Where the jobs behind it are kept.")
@leaderboard_option
def command(target: str, output: str | None, weights: bool, store: str, leaderboard: str) -> None:
    """Write all that is behind a leaderboard into one file, which `robuststack verify` checks anywhere.

    SUITE is a suite file that was run. BOARD is the JSON file of a leaderboard, or the name of one in --leaderboard. The
    file holds the suite, the plan, the result of every job, the adversarial images, the label of every draw, the
    leaderboard and its audit, as JSON and safetensors in a zip archive.

    \b
    robuststack bundle suites/float_vs_oat.yaml -o float_vs_oat.bundle --weights
    robuststack verify float_vs_oat.bundle
    """
    from robuststack.api.bundles import bundle

    written = bundle(target, output, weights=weights, store=store, leaderboard=leaderboard,
                     registry=registry_with_warnings())  # fmt: skip
    size = written.path.stat().st_size / 1e6
    click.echo(f"wrote {from_here(written.path)}, {size:.1f} MB, sha256 {written.sha256}")
