"""robuststack show [KIND] NAME"""

from __future__ import annotations

import contextlib
import inspect
import json
from typing import Any

import click
from tabulate import tabulate

from robuststack.cli.common import registry_with_warnings
from robuststack.did_you_mean import did_you_mean
from robuststack.errors import PluginError
from robuststack.plugin.defense import Defense
from robuststack.plugin.options import describe
from robuststack.plugin.registry import KINDS, Registration, Registry
from robuststack.suite.recipe import PhaseRecipe


@click.command("show")
@click.argument("words", nargs=-1, metavar="[KIND] NAME")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(words: tuple[str, ...], as_json: bool) -> None:
    """Show the options of a component (types, defaults, what they mean) and where it is from.

    KIND is defense, architecture, dataset or attack. It can be left out if only one kind has such a NAME.

    \b
    robuststack show oat
    robuststack show attack pgd
    """
    registry = registry_with_warnings()
    registration = _named(registry, words)
    kind, name = registration.kind, registration.name
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


def _named(registry: Registry, words: tuple[str, ...]) -> Registration:
    """The component that is meant by `KIND NAME` or by `NAME`.

    Raises:
        PluginError: nobody registered such a name, several kinds have it, or what is registered cannot be used.
        UsageError: there are more words, or fewer.
    """
    *kinds, name = words or ("",)
    if not name or len(kinds) > 1 or (name in KINDS and not kinds):
        valid = f"; valid: {', '.join(registry.names(name))}" if name in KINDS else ""
        raise click.UsageError(f"write robuststack show [KIND] NAME, one component{valid}")
    if kinds:
        if kinds[0] not in KINDS:
            raise click.UsageError(f"unknown kind {kinds[0]!r}: {did_you_mean(kinds[0], KINDS)}")
        return registry.find(kinds[0], name)
    having = [kind for kind in KINDS if registry.knows(kind, name)]
    if len(having) > 1:
        choices = " or ".join(f"`robuststack show {kind} {name}`" for kind in having)
        raise PluginError(f"{name!r} is the name of several components: {choices}")
    if not having:
        every = {known for kind in KINDS for known in registry.names(kind)}
        raise PluginError(f"unknown component {name!r}: {did_you_mean(name, every)}")
    return registry.find(having[0], name)
