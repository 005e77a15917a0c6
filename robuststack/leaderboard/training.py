"""Training curves: what the train jobs behind a leaderboard reported, epoch by epoch."""

from __future__ import annotations

from typing import Any

from robuststack.plan.plan import Plan
from robuststack.running.pipeline import Outcome


def training_curves(plan: Plan, outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Of each done train job the epoch whose weights were kept, and a list for each metric. They stand once in a
    leaderboard, not in each row: the settings of a tunable defense share one model."""
    found = {}
    for job in dict.fromkeys(job for row in plan.rows for job in row.train.values()):
        result = outcome.results.get(job, {})
        if history := result.get("history"):
            names = [name for name in history[0] if name not in ("steps", "seconds")]
            metrics = {name: [round(float(epoch[name]), 4) for epoch in history] for name in names}
            found[job] = {"kept_epoch": result["kept_epoch"], "metrics": metrics}
    return found
