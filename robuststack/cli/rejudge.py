"""robuststack rejudge JOB"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from robuststack import hardware
from robuststack.cli.common import one_point, registry_with_warnings
from robuststack.paths import STORE, data_folder
from robuststack.running.store import Store

if TYPE_CHECKING:
    from robuststack.engine.rejudge import Again


@click.command("rejudge")
@click.argument("job")
@click.option("--draws", type=click.IntRange(min=2), metavar="N",
              help="Fresh noise draws at a randomised point.  [default: as many as the job]")  # fmt: skip
@click.option("--seed", default=0, show_default=True, metavar="S", type=click.IntRange(min=0), help="Draws that noise.")
@click.option("--eight-bit", is_flag=True, help="Round the images to 8 bits first, as an image file would.")
@click.option("--point", "points", multiple=True, metavar="K=V",
              help="Score on this operating point of the same model instead: its knobs, with spaces between.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--device", default="auto", show_default=True, metavar="D", help="auto, cpu, cuda or cuda:N.")
@click.option("--store", default=STORE, show_default=True, metavar="DIR", help="Where the job is kept.")
def command(
    job: str,
    draws: int | None,
    seed: int,
    eight_bit: bool,
    points: Sequence[str],
    as_json: bool,
    device: str,
    store: str,
) -> None:
    """Score the adversarial images that JOB, an attack job or the beginning of its id, has kept.

    Randomised points are judged on noise that neither the attack nor the run has seen. Nothing in the store is changed.
    """
    point = one_point(points) if points else None
    computing = hardware.resolve(device, "float32")
    registry = registry_with_warnings()
    storage = Store(store, create=False)
    from robuststack.engine.jobs import Workspace
    from robuststack.engine.rejudge import rejudge
    from robuststack.engine.runtime import current_card

    workspace = Workspace(registry, storage, data_folder(), computing)
    with current_card(workspace.runtime.device):
        again = rejudge(workspace, job, point=point, draws=draws, seed=seed, eight_bit=eight_bit)
    facts = _facts(again, storage)
    if as_json:
        click.echo(json.dumps({**facts, "seed": seed}, indent=1))
    else:
        _show(facts)


def _facts(again: Again, store: Store) -> dict[str, Any]:
    from robuststack.leaderboard.rows import load_outcomes

    stored = _figure(load_outcomes(store, again.job, again.result), again.result["spec"]["victim"]["stochastic"])
    new = _figure(again.correct, again.stochastic)
    facts = {
        "job": again.job,
        "label": again.result["label"],
        "n": again.result["n"],
        "point": again.point,
        "stopped_early": again.stopped_early,
        "stored": stored,
        "new": new,
        "stored_inside": new["low"] <= stored["value"] <= new["high"],
        "eight_bit": None,
    }
    if again.unrounded is not None:
        unrounded = _figure(again.unrounded, again.stochastic)
        facts["eight_bit"] = {
            "unrounded": unrounded,
            "moved": round(new["value"] - unrounded["value"], 4),
            "images_changed": int((again.unrounded != again.correct).any(0).sum()),
        }
    return facts


def _figure(outcomes: Any, stochastic: bool) -> dict[str, Any]:
    from robuststack.leaderboard.rows import rounded
    from robuststack.statistics import accuracy

    return {**rounded(accuracy([[outcomes]], stochastic=stochastic)), "draws": len(outcomes)}


def _show(facts: dict[str, Any]) -> None:
    from tabulate import tabulate

    from robuststack.leaderboard.tables import figure
    from robuststack.suite.variant import text

    where = f" at {text(facts['point'], first=False)}" if facts["point"] else ""
    rows = [("stored", facts["stored"])]
    rounding = facts["eight_bit"]
    if rounding:
        rows += [(f"again{where}", rounding["unrounded"]), (f"again{where}, 8 bits", facts["new"])]
    else:
        rows.append((f"again{where}", facts["new"]))
    click.echo(f"{facts['job']}  {facts['label']}, {facts['n']} images\n")
    body = [[name, figure(one), one["draws"]] for name, one in rows]
    click.echo(tabulate(body, ["", "RA %", "draws"], disable_numparse=True, colalign=("left", "right", "right")))
    low, high = facts["new"]["low"], facts["new"]["high"]
    lies = "lies inside" if facts["stored_inside"] else "does not lie inside"
    click.echo(f"\nthe stored {facts['stored']['value']:.1f} {lies} the new interval [{low:.1f}, {high:.1f}]")
    if facts["stopped_early"]:
        click.echo(
            "these images were left as they were once they fooled the point they were made for: attacked here, or with"
            " early_stop: false, they may hurt more"
        )
    if rounding:
        click.echo(
            f"rounding to 8 bits moves RA by {rounding['moved']:+.2f} points:"
            f" {rounding['images_changed']} of {facts['n']} images change their verdict"
        )
