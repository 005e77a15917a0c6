"""robuststack schema"""

from __future__ import annotations

import json

import click


@click.command("schema")
@click.option("--board", is_flag=True, help="The schema of leaderboard files instead.")
@click.option("--audit", is_flag=True, help="The schema of audit files instead.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, writable=True), help="Write it to a file.")
def command(board: bool, audit: bool, output: str | None) -> None:
    """Print the JSON schema of suite files, with the names and options of every installed plugin; or, with --board, that of
    leaderboard files; or, with --audit, that of the audits beside them.

    Editors complete and check suites with it: put `# yaml-language-server: $schema=FILE` on a suite's first line.

    \b
    robuststack schema -o suite.schema.json
    """
    if board and audit:
        raise click.UsageError("--board and --audit are two schemas; leave one out")
    schema = _board_schema() if board else _audit_schema() if audit else _suite_schema()
    text = json.dumps(schema, indent=1)
    if output:
        from robuststack.paths import expanded
        from robuststack.running.atomic_files import write_text

        write_text(expanded(output), text + "\n")
    else:
        click.echo(text)


def _suite_schema() -> dict[str, object]:
    from robuststack.cli.common import registry_with_warnings
    from robuststack.suite.json_schema import suite_schema

    return suite_schema(registry_with_warnings())


def _board_schema() -> dict[str, object]:
    from robuststack.leaderboard.board import board_schema

    return board_schema()


def _audit_schema() -> dict[str, object]:
    from robuststack.leaderboard.audit import audit_schema

    return audit_schema()
