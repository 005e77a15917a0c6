"""Training curves: what the train jobs behind a leaderboard reported, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robuststack.leaderboard.board import TrainingCurve
from robuststack.plan.plan import Plan
from robuststack.running.pipeline import Outcome

NOT_DRAWN = ("steps", "table_draws", "seconds")


def training_curves(plan: Plan, outcome: Outcome) -> dict[str, TrainingCurve]:
    """The curve of each train job that is done."""
    curves = {}
    for job in dict.fromkeys(job for row in plan.rows for job in row.train.values()):
        result = outcome.results.get(job, {})
        if history := result.get("history"):
            phases = result["phases"]
            kept = {phase["name"]: phase["kept_epoch"] for phase in phases if phase["name"]}
            metrics: dict[str, tuple[float, ...]] = {}
            for phase in phases:
                epochs, history = history[: phase["epochs"]], history[phase["epochs"] :]
                metrics |= _metrics(epochs, f"{phase['name']}: " if phase["name"] else "")
            curves[job] = TrainingCurve(kept_epoch=result["kept_epoch"], kept_of_phases=kept, metrics=metrics)
    return curves


def _metrics(epochs: Sequence[Mapping[str, float]], prefix: str) -> dict[str, tuple[float, ...]]:
    names = [name for name in epochs[0] if name not in NOT_DRAWN]
    return {prefix + name: tuple(round(float(epoch[name]), 4) for epoch in epochs) for name in names}
