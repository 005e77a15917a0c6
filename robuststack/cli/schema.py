"""robuststack schema"""

from __future__ import annotations

import json

import click

from robuststack.cli.common import registry_with_warnings
from robuststack.suite.json_schema import suite_schema


@click.command("schema")
@click.option("--output", "-o", type=click.Path(dir_okay=False, writable=True), help="Write it to a file.")
def command(output: str | None) -> None:
    """Print the JSON schema of suite files, with the names and options of every installed plugin.

    Editors complete and check suites with it: put `# yaml-language-server: $schema=FILE` on a suite's first line.
    """
    text = json.dumps(suite_schema(registry_with_warnings()), indent=1)
    if output:
        from robuststack.paths import expanded
        from robuststack.running.atomic_files import write_text

        write_text(expanded(output), text + "\n")
    else:
        click.echo(text)
