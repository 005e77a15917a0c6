"""robuststack describe ARCHITECTURE"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
from tabulate import tabulate

from robuststack.cli.common import registry_with_warnings
from robuststack.did_you_mean import did_you_mean
from robuststack.errors import RobustStackError
from robuststack.leaderboard.float_table1 import published
from robuststack.plugin.registry import Registry
from robuststack.suite.single_model import component_of


@click.command("describe")
@click.argument("architecture", required=False, metavar="[ARCHITECTURE]")
@click.option("--defense", default="none", show_default=True, metavar="SPEC", help="The defense that rewrites it.")
@click.option("--num-classes", default=10, show_default=True, type=click.IntRange(min=2), help="Logits of the network.")
@click.option("--shape", default="3,32,32", show_default=True, metavar="C,H,W", help="Shape of an image.")
@click.option("--table1", is_flag=True, help="Compare the sizes in the FLOAT paper's Table 1 with ours.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    context: click.Context,
    architecture: str | None,
    defense: str,
    num_classes: int,
    shape: str,
    table1: bool,
    as_json: bool,
) -> None:
    """Count the parameters and multiply-accumulates of ARCHITECTURE under a defense, at its reference point.

    Both are a registered name, with options if it needs any: "resnet20 width=8", --defense "oat dim=1".

    With --table1, count what the paper's sizes may stand for, by each convention they may follow, and say which of
    them gives the printed figure; ARCHITECTURE then picks the figures of one network.

    \b
    robuststack describe "resnet20 width=8" --defense "oat dim=1"
    """
    registry = registry_with_warnings()
    if table1:
        _refuse_beside_table1(context)
        figures = _published(registry, architecture)
        click.echo(json.dumps(figures, indent=1) if as_json else _table(figures))
        return
    if architecture is None:
        raise click.UsageError("Missing argument 'ARCHITECTURE'.")
    network = _created(registry, "architecture", architecture, "ARCHITECTURE")
    method = _created(registry, "defense", defense, "--defense")
    if not method.trains:
        raise RobustStackError(
            f"defense {method.name!r} brings its own network; describe takes one that rewrites {network.name}"
        )
    dimensions = _shape(shape)

    from robuststack.engine.counting import sizes

    facts = {
        "architecture": network.name,
        "architecture_options": network.options.resolved(),
        "defense": method.name,
        "options": method.options.resolved(),
        "num_classes": num_classes,
        "shape": list(dimensions),
        **sizes(method, network, dimensions, num_classes),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    click.echo(f"{architecture} under {defense}, {num_classes} classes, images of {shape}")
    click.echo(f"parameters {facts['parameters']:,}")
    if "nonzero_parameters" in facts:
        click.echo(f"nonzero parameters {facts['nonzero_parameters']:,}")
    click.echo(f"MACs {facts['macs']:,}")


def _refuse_beside_table1(context: click.Context) -> None:
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE
        if given and parameter.name not in ("architecture", "table1", "as_json"):
            raise click.UsageError(
                f"{parameter.opts[0]} has no meaning beside --table1, which counts what was published"
            )


def _published(registry: Registry, architecture: str | None) -> list[dict[str, Any]]:
    """Every figure of the table, or those of one architecture, with what is counted here by each convention."""
    figures = published()
    chosen = [figure for figure in figures if architecture in (None, figure.architecture)]
    if not chosen:
        hint = did_you_mean(str(architecture), {figure.architecture for figure in figures})
        raise RobustStackError(f"no size of {architecture!r} is published: {hint}")

    from robuststack.engine.counting import comparison

    return [
        {
            "source": figure.source, "method": figure.method, "architecture": figure.architecture,
            "printed": figure.printed, "unit": figure.unit, "conventions": comparison(registry, figure),
        }
        for figure in chosen
    ]  # fmt: skip


def _table(figures: Sequence[dict[str, Any]]) -> str:
    header = ["method", "architecture", "printed", "convention", "counted", "agrees"]
    blocks = []
    for source in dict.fromkeys(figure["source"] for figure in figures):
        rows = [
            [figure["method"], figure["architecture"], f"{figure['printed']} {figure['unit']}", way["convention"],
             f"{way['counted']:,}", way["agrees"]]
            for figure in figures if figure["source"] == source for way in figure["conventions"]
        ]  # fmt: skip
        align = ("left", "left", "right", "left", "right", "left")
        blocks.append(f"{source}\n\n{tabulate(rows, header, disable_numparse=True, colalign=align)}")
    return "\n\n".join([*blocks, *_disagreements(figures)])


def _disagreements(figures: Sequence[dict[str, Any]]) -> list[str]:
    """Where the published figures do not add up: those that nothing gives, and those of one kind that no one convention
    gives together."""
    lines = []
    kinds: dict[tuple[str, str, str], list[tuple[str, set[str]]]] = {}
    for figure in figures:
        ways = {way["convention"] for way in figure["conventions"] if way["agrees"] != "no"}
        text = f"{figure['printed']} {figure['unit']} ({figure['architecture']})"
        if ways:
            kinds.setdefault((figure["source"], figure["method"], figure["unit"]), []).append((text, ways))
        else:
            lines.append(f"{figure['method']}: nothing counted here gives {text}")
    for (_, method, _), printed_ways in kinds.items():
        if not set.intersection(*(ways for _, ways in printed_ways)):
            printed = ", ".join(f"{text}: {' or '.join(sorted(ways))}" for text, ways in printed_ways)
            lines.append(f"{method}: no one convention gives every figure; {printed}")
    return lines


def _created(registry: Registry, kind: str, written: str, mark: str) -> Any:
    """The component that a specification names, as `robuststack evaluate` takes it."""
    entry = component_of(mark, written)
    return registry.create(kind, entry["name"], entry["options"])


def _shape(text: str) -> tuple[int, int, int]:
    try:
        channels, height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise RobustStackError(f"--shape {text}: write three whole numbers C,H,W, for example 3,32,32") from None
    if min(channels, height, width) < 1:
        raise RobustStackError(f"--shape {text}: each of C, H and W is at least 1")
    return channels, height, width
