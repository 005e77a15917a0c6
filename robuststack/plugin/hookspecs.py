"""The hooks a plugin can implement.

An entry point of the group `robuststack` names a module (or object) with functions marked `@robuststack.hookimpl`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from robuststack.leaderboard.row import Row
    from robuststack.plan.job import Job
    from robuststack.plan.plan import Plan
    from robuststack.plugin.registry import Register

hookspec = pluggy.HookspecMarker("robuststack")
hookimpl = pluggy.HookimplMarker("robuststack")


@hookspec
def register_defense(register: Register) -> None:
    """Called once at start-up: call `register(name, "package.module:Class")` for each `Defense`; returns nothing."""


@hookspec
def register_architecture(register: Register) -> None:
    """Called once at start-up: call `register(name, "package.module:Class")` for each `Architecture`."""


@hookspec
def register_dataset(register: Register) -> None:
    """Called once at start-up: call `register(name, "package.module:Class")` for each `Dataset`."""


@hookspec
def register_attack(register: Register) -> None:
    """Called once at start-up: call `register(name, "package.module:Class")` for each `Attack`."""


@hookspec
def start_tracking(folder: Path) -> object | None:
    """Called before a run that the user asked to track (`run --track DIR`): returns an object with hooks of its own, which
    are called for the length of that run, or None."""


@hookspec
def start_tracking_with(tool: str, place: str) -> object | None:
    """Called before a run that the user asked to track elsewhere (`run --track TOOL:PLACE`): returns such an object if the
    tool is the plugin's, else None. The place may be empty. Raise `PluginError` if the tool cannot be used."""


@hookspec
def run_started(plan: Plan, cached: frozenset[str]) -> None:
    """Called before the first job with the whole plan and the ids of the jobs whose results are in the store. A job's kind
    is `train`, `draws`, `attack`, `judge`, `game` or `measure`; in an audit also `probe`."""


@hookspec
def job_started(job: Job) -> None:
    """Called when a job that is not cached begins."""


@hookspec
def job_placed(job: Job, node: str) -> None:
    """Called when a worker of a cluster begins with a job or with some of its blocks, with the name of its node. A job that
    is tried again, or whose blocks are shared out, is placed several times."""


@hookspec
def epoch_finished(job: Job, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
    """Called after each epoch (1-based) of a training job with `loss`, `seconds` and what the defense observed."""


@hookspec
def block_finished(job: Job, done: int, total: int, metrics: Mapping[str, float]) -> None:
    """Called after each block of a job that attacks or judges: images done and images in all and, of a judge job, the
    accuracy so far in percent: `ca` of clean images, `ra` of adversarial ones. A job that chooses draws, and a game, goes
    over its images several times."""


@hookspec
def job_noticed(job: Job, text: str) -> None:
    """Called with one line about a job that a reader should know of: a block that is damaged and made again, say."""


@hookspec
def job_finished(job: Job, result: Mapping[str, Any], seconds: float) -> None:
    """Called when a job's result is in the store, with that result and the seconds it took in this run."""


@hookspec
def job_failed(job: Job, error: Exception) -> None:
    """Called when a job failed for a reason of its own; the jobs that do not need it go on."""


@hookspec
def rows_ready(rows: Sequence[Row]) -> None:
    """Called with the rows of the leaderboard before they are written. A plugin may add columns: keys of `row.extra`,
    whose values are numbers, texts or None."""


@hookspec
def run_finished() -> None:
    """Called when a run is over, after its leaderboard was written or if an error ended it."""
