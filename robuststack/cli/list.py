"""robuststack list [KIND]"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

import click

from robuststack.cli.common import registry_with_warnings
from robuststack.errors import PluginError
from robuststack.plugin.registry import KINDS, Registration

WIDTH = 80
NAME_WIDTH = 20
"""A longer name has a line to itself."""


@click.command("list")
@click.argument("kind", required=False, type=click.Choice([*KINDS, *(f"{kind}s" for kind in KINDS)]), metavar="[KIND]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(kind: str | None, as_json: bool) -> None:
    """List the registered defenses, architectures, datasets and attacks, or those of one KIND, and who provides them.

    \b
    robuststack list
    robuststack list attack
    """
    registry = registry_with_warnings()
    chosen = [registration for registration in registry if kind is None or registration.kind == kind.removesuffix("s")]
    if as_json:
        entries = [
            {"kind": registration.kind, "name": registration.name, "plugin": registration.plugin,
             "distribution": _distribution(registration), "summary": _summary(registration)}
            for registration in chosen
        ]  # fmt: skip
        click.echo(json.dumps(entries, indent=1))
        return
    for wanted in KINDS:
        of_kind = [registration for registration in chosen if registration.kind == wanted]
        # The first provider's components first: those of RobustStack, which are the most, are not torn apart.
        of_kind.sort(key=lambda registration: (registration.distribution, registration.plugin))
        for origin, group in groupby(of_kind, lambda registration: registration.origin):
            click.echo("\n".join(_section(f"{wanted}s, {origin}", list(group))))


def _section(title: str, registrations: Sequence[Registration]) -> Iterator[str]:
    """The components of one provider, within `WIDTH` columns."""
    yield title
    for registration in registrations:
        first = f"  {registration.name:<{NAME_WIDTH}}  "
        if len(registration.name) > NAME_WIDTH:
            yield f"  {registration.name}"
            first = " " * (NAME_WIDTH + 4)
        yield from textwrap.wrap(
            _summary(registration), WIDTH, initial_indent=first, subsequent_indent=" " * (NAME_WIDTH + 4),
            break_on_hyphens=False,
        ) or [first.rstrip()]  # fmt: skip


def _distribution(registration: Registration) -> str:
    return f"{registration.distribution} {registration.version}"


def _summary(registration: Registration) -> str:
    try:
        return registration.load().summary()
    except PluginError as error:
        return f"(cannot be used: {error})"
