"""What a row's model predicts at all, and what attacks did for it, from the labels behind the row."""

from __future__ import annotations

import numpy as np

from robuststack.leaderboard.figures import Jobs, LabelsOf
from robuststack.leaderboard.row import CLEAN, Predictions


def predictions(jobs: Jobs, labels: LabelsOf) -> Predictions:
    """What the clean images were called, over all runs and draws, and how many of them the attacks turned right."""
    judged = [labels(job) for job in dict.fromkeys(jobs[CLEAN].values())]
    truth = judged[0].truth
    named = np.concatenate([of_run.labels.reshape(-1) for of_run in judged])
    return Predictions(chance=_largest_share(truth), most_named=_largest_share(named), helped=_helped(jobs, labels))


def _helped(jobs: Jobs, labels: LabelsOf) -> float:
    """In percent, the mean over runs."""
    shares = []
    for run, job in jobs[CLEAN].items():
        clean = labels(job).correct
        attacked = [labels(of_run[run]).correct for figure, of_run in jobs.items() if figure != CLEAN]
        worst = np.min([right.mean(0) for right in attacked], axis=0)
        randomised = max(len(right) for right in (clean, *attacked)) > 1
        # Which image a draw gets right is chance: of several draws, means alone are compared.
        shares.append(max(0.0, worst.mean() - clean.mean()) if randomised else (worst > clean[0]).mean())
    return round(100 * float(np.mean(shares)), 4)


def _largest_share(labels: np.ndarray) -> float:
    """In percent."""
    return round(100 * float(np.unique(labels, return_counts=True)[1].max()) / labels.size, 4)
