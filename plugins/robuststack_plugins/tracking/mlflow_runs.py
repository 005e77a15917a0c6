"""MLflow: `run SUITE --track mlflow:URI`, or `mlflow:FOLDER` for a database of this machine."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from robuststack import PluginError
from robuststack_plugins.tracking.job_runs import JobRuns, RunFacts

LONGEST_VALUE = 500


class MlflowRuns(JobRuns[str]):
    """Runs of an experiment that is named after the suite. A run is known by its id.

    `place` is the URI of a server or database, a folder in which `mlflow.db` and artifacts lie, or empty for what MLflow
    itself is set to (`MLFLOW_TRACKING_URI`).
    """

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def start(self) -> None:
        folder = None if not self.place or ":" in self.place or self.place == "databricks" else Path(self.place)
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{folder.absolute() / 'mlflow.db'}" if folder else self.place or mlflow.get_tracking_uri()
            self._client = MlflowClient(tracking_uri=uri)
            known = self._client.get_experiment_by_name(self.suite)
            artifacts = str(folder.absolute() / "artifacts") if folder else None
            self._experiment = known.experiment_id if known else self._client.create_experiment(self.suite, artifacts)
        except (MlflowException, ImportError, OSError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise PluginError(f"--track mlflow:{self.place}: {reason}") from error

    def begin(self, facts: RunFacts) -> str:
        tags = {"kind": facts.kind, "suite": self.suite, "tags": ",".join(dict.fromkeys(facts.tags))}
        run = self._client.create_run(self._experiment, run_name=facts.name, tags=tags)
        params = [Param(_name(key), str(value)[:LONGEST_VALUE]) for key, value in facts.config.items()]
        self._client.log_batch(run.info.run_id, params=params)
        return str(run.info.run_id)

    def log(self, run: str, metrics: Mapping[str, float], step: int) -> None:
        now = round(1000 * time.time())
        self._client.log_batch(run, [Metric(_name(name), float(value), now, step) for name, value in metrics.items()])

    def end(self, run: str, summary: Mapping[str, float], failed: bool) -> None:
        self.log(run, summary, 0)
        self._client.set_terminated(run, "FAILED" if failed else "FINISHED")


def _name(text: str) -> str:
    """A name of a metric or parameter that MLflow takes."""
    return re.sub(r"[^\w\-. /]+", "_", text)
