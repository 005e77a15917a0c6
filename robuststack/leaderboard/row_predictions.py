"""What a row's model predicts at all, from the labels of the clean images."""

from __future__ import annotations

import numpy as np

from robuststack.leaderboard.figures import Jobs, LabelsOf
from robuststack.leaderboard.row import CLEAN, Predictions


def predictions(jobs: Jobs, labels: LabelsOf) -> Predictions:
    """What the clean images were called, over all runs and draws."""
    judged = [labels(job) for job in dict.fromkeys(jobs[CLEAN].values())]
    truth = judged[0].truth
    named = np.concatenate([of_run.labels.reshape(-1) for of_run in judged])
    return Predictions(chance=_largest_share(truth), most_named=_largest_share(named))


def _largest_share(labels: np.ndarray) -> float:
    """In percent."""
    return round(100 * float(np.unique(labels, return_counts=True)[1].max()) / labels.size, 4)
