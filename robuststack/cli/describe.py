"""robuststack describe ARCHITECTURE"""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from robuststack.cli.common import registry_with_warnings
from robuststack.errors import RobustStackError
from robuststack.options import parse


@click.command("describe", short_help="Count parameters and MACs.")
@click.argument("architecture")
@click.option("--defense", default="none", show_default=True, metavar="NAME", help="The defense that rewrites it.")
@click.option("--option", "options", metavar="K=V", multiple=True, help="An option of the defense; repeatable.")
@click.option("--num-classes", default=10, show_default=True, type=click.IntRange(min=2))
@click.option("--shape", default="3,32,32", show_default=True, metavar="C,H,W", help="Shape of an image.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    architecture: str, defense: str, options: Sequence[str], num_classes: int, shape: str, as_json: bool
) -> None:
    """Count the parameters and multiply-accumulates of ARCHITECTURE under a defense, at its most robust point."""
    registry = registry_with_warnings()
    network = registry.create("architecture", architecture)
    method = registry.create("defense", defense, _pairs(options))
    if not method.trains:
        raise RobustStackError(
            f"defense {defense!r} brings its own network; describe takes one that rewrites {architecture}"
        )
    dimensions = _shape(shape)

    from robuststack.engine.measure import blueprint, macs

    model = blueprint(method, network, dimensions, num_classes)
    robust_end = parse(type(method).Knobs, method.operating_points()[-1]).resolved()
    setting = method.setting(robust_end)
    facts = {
        "architecture": architecture,
        "defense": defense,
        "options": method.options.resolved(),
        "num_classes": num_classes,
        "shape": list(dimensions),
        "parameters": method.parameters(model, setting),
        "macs": macs(method.view(model, setting), dimensions),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    click.echo(f"{architecture} under {defense}, {num_classes} classes, images of {shape}")
    click.echo(f"parameters {facts['parameters']:,}\nMACs {facts['macs']:,}")


def _pairs(options: Sequence[str]) -> dict[str, object]:
    import yaml

    found: dict[str, object] = {}
    for one in options:
        key, sign, value = one.partition("=")
        if not sign or not key:
            raise RobustStackError(f"--option {one}: write KEY=VALUE, for example --option dim=1")
        try:
            found[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):
            raise RobustStackError(f"--option {one}: the value is not valid YAML") from None
    return found


def _shape(text: str) -> tuple[int, int, int]:
    try:
        channels, height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise RobustStackError(f"--shape {text}: write three whole numbers C,H,W, for example 3,32,32") from None
    if min(channels, height, width) < 1:
        raise RobustStackError(f"--shape {text}: each of C, H and W is at least 1")
    return channels, height, width
