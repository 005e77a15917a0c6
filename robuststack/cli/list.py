"""robuststack list [KIND]"""

from __future__ import annotations

import json

import click

from robuststack.cli.common import registry_with_warnings
from robuststack.errors import PluginError
from robuststack.plugin.registry import KINDS, Registration


@click.command("list")
@click.argument("kind", required=False, type=click.Choice([*KINDS, *(f"{kind}s" for kind in KINDS)]), metavar="[KIND]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(kind: str | None, as_json: bool) -> None:
    """List the registered defenses, architectures, datasets and attacks, or those of one KIND."""
    registry = registry_with_warnings()
    chosen = [registration for registration in registry if kind is None or registration.kind == kind.removesuffix("s")]
    entries = [
        {"kind": registration.kind, "name": registration.name, "plugin": registration.plugin,
         "distribution": f"{registration.distribution} {registration.version}", "summary": _summary(registration)}
        for registration in chosen
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps(entries, indent=1))
        return
    width = max((len(entry["name"]) for entry in entries), default=0)
    for wanted in KINDS:
        group = [entry for entry in entries if entry["kind"] == wanted]
        if group:
            click.echo(f"{wanted}s")
            for entry in group:
                click.echo(f"  {entry['name']:<{width}}  {entry['summary']}")


def _summary(registration: Registration) -> str:
    try:
        return registration.load().summary()
    except PluginError as error:
        return f"(cannot be used: {error})"
