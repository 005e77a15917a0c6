"""robuststack show KIND NAME"""

from __future__ import annotations

import contextlib
import inspect
import json
from typing import Any

import click
from tabulate import tabulate

from robuststack.cli.common import registry_with_warnings
from robuststack.errors import PluginError
from robuststack.plugin.defense import Defense
from robuststack.plugin.options import describe
from robuststack.plugin.registry import KINDS
from robuststack.suite.recipe import PhaseRecipe


@click.command("show")
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(kind: str, name: str, as_json: bool) -> None:
    """Show the options of a component (types, defaults, what they mean) and where it is from.

    KIND is defense, architecture, dataset or attack.
    """
    registry = registry_with_warnings()
    registration = registry.find(kind, name)
    cls = registration.load()
    options = describe(cls.Options)
    for option in options:
        option["default"] = registration.preset.get(option["name"], option["default"])
    facts: dict[str, Any] = {
        "kind": kind,
        "name": name,
        "description": inspect.cleandoc(cls.__doc__ or ""),
        "paper": cls.paper,
        "provided_by": registration.origin,
        "options": options,
    }
    if issubclass(cls, Defense):
        facts["knobs"] = describe(cls.Knobs)
        with contextlib.suppress(PluginError):  # Options that must be given.
            facts["phases"] = [phase.name for phase in registry.create(kind, name).phases(PhaseRecipe())]
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    click.echo(f"{kind} {name}\n\n{facts['description']}\n")
    if cls.paper:
        click.echo(f"From: {cls.paper}")
    click.echo(f"Provided by {registration.origin}")
    if facts.get("phases"):
        click.echo(f"Trains in phases: {', '.join(facts['phases'])}")
    for title, rows in (("Options", options), ("Knobs (operating points)", facts.get("knobs", []))):
        if rows:
            body = [
                [option["name"], option["type"], json.dumps(option["default"]), option["description"]]
                for option in rows
            ]
            header = ["name", "type", "default", "meaning"]
            click.echo(f"\n{title}\n\n{tabulate(body, header, maxcolwidths=[None, 30, 24, 64], disable_numparse=True)}")
