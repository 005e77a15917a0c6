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
    chosen = [one for one in registry if kind is None or one.kind == kind.removesuffix("s")]
    entries = [
        {"kind": one.kind, "name": one.name, "plugin": one.plugin, "distribution": f"{one.distribution} {one.version}",
         "summary": _summary(one)}
        for one in chosen
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps(entries, indent=1))
        return
    width = max((len(one["name"]) for one in entries), default=0)
    for wanted in KINDS:
        group = [one for one in entries if one["kind"] == wanted]
        if group:
            click.echo(f"{wanted}s")
            for one in group:
                click.echo(f"  {one['name']:<{width}}  {one['summary']}")


def _summary(one: Registration) -> str:
    try:
        return one.load().summary()
    except PluginError as error:
        return f"(cannot be used: {error})"
