"""robuststack rejudge JOB"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from robuststack.cli.common import device_option, one_point, registry_with_warnings
from robuststack.paths import STORE, data_folder
from robuststack.plan.job import Job
from robuststack.plugin.hookspecs import hookimpl
from robuststack.running.store import Store

if TYPE_CHECKING:
    from robuststack.leaderboard.board_labels import Labels
    from robuststack.plan.rejudge import Rejudging
    from robuststack.running.rejudge import Rejudged


@click.command("rejudge")
@click.argument("job")
@click.option("--draws", type=click.IntRange(min=2), metavar="N",
              help="How many fresh noise draws judge a randomised point.  [default: as many as the job]")  # fmt: skip
@click.option(
    "--seed", default=0, show_default=True, metavar="S", type=click.IntRange(min=0), help="The seed of that noise."
)
@click.option(
    "--eight-bit",
    is_flag=True,
    help="Round the images to 8 bits first, as an image file would: by up to 1/510 a pixel, also out of the ball.",
)
@click.option("--point", "points", multiple=True, metavar="K=V",
              help="Score on this operating point of the same model instead: its knobs, with spaces between.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@device_option
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
    """Score the adversarial images of JOB again: an attack job, a judge job of its images, or the beginning of an id.

    Randomised points are judged on noise that neither the attack nor the run has seen. The result is kept in the store as
    a new job. JOB may have stopped early on images that fooled its own point. Another point, or 8 bits, needs images that
    were attacked to the end: then the attack runs again without stopping early.

    \b
    robuststack rejudge judge-0a1b --draws 100
    """
    point = one_point(points) if points else None
    registry = registry_with_warnings()
    storage = Store(store, create=False)
    from robuststack.plan.rejudge import plan_rejudging
    from robuststack.running.rejudge import rejudge

    rejudging = plan_rejudging(
        storage, registry, job, point=point, draws=draws, seed=seed, eight_bit=eight_bit, device=device
    )
    registry.hooks.register(_Notices(rejudging), name="notices")
    # Where facts are printed, nothing else may be; what data sets and plugins print neither.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        rejudged = rejudge(rejudging, storage, registry, data_folder())
    facts = _facts(rejudging, rejudged)
    if as_json:
        click.echo(json.dumps({**facts, "seed": seed}, indent=1))
    else:
        _show(facts)


class _Notices:
    """What a reader should know of the jobs, on standard error."""

    def __init__(self, rejudging: Rejudging) -> None:
        self.rejudging = rejudging

    @hookimpl
    def job_started(self, job: Job) -> None:
        if self.rejudging.to_the_end and job.id == self.rejudging.to_the_end.id:
            attack = self.rejudging.attack.id
            click.echo(
                f"{attack} left images as they were once they fooled its own point: it is run to the end", err=True
            )

    @hookimpl
    def job_noticed(self, job: Job, text: str) -> None:
        click.echo(f"{job.id}: {text}", err=True)


def _facts(rejudging: Rejudging, rejudged: Rejudged) -> dict[str, Any]:
    new = _figure(rejudged.labels)
    stored = _figure(rejudged.stored) if rejudged.stored else None
    crafted = rejudging.to_the_end or rejudging.attack
    facts = {
        "job": rejudging.attack.id,
        "images": crafted.id,
        "judged": rejudging.judged.id,
        "label": rejudging.attack.label,
        "n": rejudged.labels.labels.shape[1],
        "point": rejudging.point,
        "to_the_end": rejudging.to_the_end is not None,
        "stored": stored,
        "new": new,
        "stored_inside": stored and new["low"] <= stored["value"] <= new["high"],
        "eight_bit": None,
    }
    if rejudged.unrounded is not None:
        unrounded = _figure(rejudged.unrounded)
        facts["eight_bit"] = {
            "unrounded": unrounded,
            "moved": round(new["value"] - unrounded["value"], 4),
            "images_changed": int((rejudged.unrounded.correct != rejudged.labels.correct).any(0).sum()),
        }
    return facts


def _figure(labels: Labels) -> dict[str, Any]:
    from robuststack.evidence.figures import measured
    from robuststack.leaderboard.figures import rounded

    figure = rounded(measured({(0, 0): [labels.labels]}, labels.truth))
    return {**figure.model_dump(include={"value", "low", "high", "interval"}), "draws": len(labels.labels)}


def _show(facts: dict[str, Any]) -> None:
    from tabulate import tabulate

    from robuststack.wording import options_text, percent_text

    where = f" at {options_text(facts['point'])}" if facts["point"] else ""
    rows = [("stored", facts["stored"])] if facts["stored"] else []
    rounding = facts["eight_bit"]
    if rounding:
        rows += [(f"again{where}", rounding["unrounded"]), (f"again{where}, 8 bits", facts["new"])]
    else:
        rows.append((f"again{where}", facts["new"]))
    click.echo(f"{facts['job']}  {facts['label']}, {facts['n']} images\n")
    body = [
        [name, percent_text(figure["value"], figure["low"], figure["high"]), figure["draws"]] for name, figure in rows
    ]
    click.echo(tabulate(body, ["", "RA %", "draws"], disable_numparse=True, colalign=("left", "right", "right")))
    low, high = facts["new"]["low"], facts["new"]["high"]
    if facts["stored"]:
        lies = "lies inside" if facts["stored_inside"] else "does not lie inside"
        click.echo(f"\nthe stored {facts['stored']['value']:.1f} {lies} the new interval [{low:.1f}, {high:.1f}]")
    if facts["to_the_end"]:
        click.echo(
            f"attacked to the end by {facts['images']}: the stored images were left as they were once they fooled the point"
            " they were made for"
        )
    if rounding:
        click.echo(
            f"rounding to 8 bits moves RA by {rounding['moved']:+.2f} points:"
            f" {rounding['images_changed']} of {facts['n']} images change their verdict (it moves a pixel by up to 1/510,"
            " also out of the ball)"
        )
