"""robuststack new KIND NAME"""

from __future__ import annotations

import click

from robuststack.cli.common import registry_with_warnings
from robuststack.paths import expanded
from robuststack.plugin.registry import KINDS
from robuststack.plugin.scaffold import named, write


@click.command("new")
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND")
@click.argument("name")
@click.option(
    "-o", "--output", default=".", show_default=True, metavar="DIR", help="Where the package's folder is made."
)
def command(kind: str, name: str, output: str) -> None:
    """Write a complete plugin package: module, entry point, tests and a suite that runs it.

    KIND is defense, architecture, dataset or attack; NAME is what suites will call it, with
    underscores for hyphens.

    \b
    robuststack new defense mine
    """
    package = named(kind, name, registry_with_warnings())
    for path in write(package, expanded(output)):
        click.echo(f"wrote {path}")
    folder = expanded(output) / package.distribution
    click.echo(f"""
{package.class_name} in {folder / package.module}.py works as it is; make it yours. Next:

  python -m pip install -e "{folder}[test]"
  pytest {folder}
  robuststack run {folder / "suite.yaml"}""")
