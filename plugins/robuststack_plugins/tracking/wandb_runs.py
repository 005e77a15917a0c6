"""Weights & Biases: `run SUITE --track wandb:PROJECT`, or without a connection under WANDB_MODE=offline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import wandb

from robuststack import PluginError
from robuststack_plugins.tracking.job_runs import JobRuns, RunFacts

LONGEST_TAG = 64
OFFLINE = ("offline", "dryrun", "disabled")


class WandbRuns(JobRuns[Any]):
    """Runs of a project, which is named after the suite if the user names none, in a group of the suite."""

    def __init__(self, project: str) -> None:
        super().__init__()
        self.project = project

    def start(self) -> None:
        try:
            if wandb.setup().settings.mode not in OFFLINE:
                wandb.login(verify=True)
        except (wandb.errors.Error, ValueError) as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise PluginError(
                f"--track wandb: {reason}; or set WANDB_API_KEY, or WANDB_MODE=offline, which needs no login"
            ) from error

    def begin(self, facts: RunFacts) -> Any:
        return wandb.init(
            project=self.project or self.suite,
            group=self.suite,
            name=facts.name,
            job_type=facts.kind,
            tags=[tag[:LONGEST_TAG] for tag in dict.fromkeys(facts.tags)],
            config=dict(facts.config),
            reinit="create_new",  # Jobs of several workers are open at a time.
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )

    def log(self, run: Any, metrics: Mapping[str, float], step: int) -> None:
        run.log(dict(metrics), step=step)

    def end(self, run: Any, summary: Mapping[str, float], failed: bool) -> None:
        run.summary.update(dict(summary))
        run.finish(exit_code=int(failed))
