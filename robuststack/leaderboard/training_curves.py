"""Training curves: what the train jobs behind a leaderboard reported, epoch by epoch."""

from __future__ import annotations

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
            names = [name for name in history[0] if name not in NOT_DRAWN]
            metrics = {name: tuple(round(float(epoch[name]), 4) for epoch in history) for name in names}
            curves[job] = TrainingCurve(kept_epoch=result["kept_epoch"], metrics=metrics)
    return curves
