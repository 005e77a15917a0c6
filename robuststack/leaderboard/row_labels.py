"""The labels behind the figures of a row: of each training seed's model, for each attack seed and attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robuststack.errors import LeaderboardError
from robuststack.evidence.figures import Run
from robuststack.evidence.variance import Attacks
from robuststack.leaderboard.board_labels import Labels, comparable
from robuststack.leaderboard.row import WORST, Row

Models = Sequence[Sequence[Attacks]]
"""Training seed -> run -> the labels [draws, n] of each attack that the worst is taken over."""


class MissingLabels(LeaderboardError):
    """Labels behind a figure are not there."""


@dataclass(frozen=True)
class FigureLabels:
    """What one figure of a row was counted from."""

    models: Models
    truth: np.ndarray
    selection: str
    """The name of the images."""


def figure_labels(row: Row, protocol: str, figure: str, labels: Mapping[str, Labels]) -> FigureLabels:
    """The labels of `ca`, of a natural shift, of an attack or of `worst`, by a protocol that the row was scored by.

    Raises:
        MissingLabels: some of them are missing.
    """
    attacks = row.scores[protocol].single_attacks if figure == WORST else [figure]
    judged = row.judge_jobs(protocol)
    jobs = [judged[attack] for attack in attacks]
    missing = [job for of_attack in jobs for job in of_attack.values() if job not in labels]
    if missing:
        name = row.figure_name(figure)
        raise MissingLabels(f"{row.label}: the labels of {name} are missing ({missing[0]}); run its suite again")
    return labels_of_jobs(jobs, labels.__getitem__)


def labels_of_jobs(jobs: Sequence[Mapping[str, str]], labels: Callable[[str], Labels]) -> FigureLabels:
    """What a figure was counted from, by the judge jobs of each attack that the worst is taken over: run, as `run_text`
    writes it -> job; `labels` gives what a job predicted."""
    comparable({job: labels(job) for of_attack in jobs for job in of_attack.values()})
    models: dict[int, list[Attacks]] = {}
    for of_run, (training_seed, *_) in distinct_runs(jobs).items():
        models.setdefault(training_seed, []).append([labels(job).labels for job in of_run])
    first = labels(next(iter(jobs[0].values())))
    return FigureLabels(list(models.values()), first.truth, first.selection)


def distinct_runs(jobs: Sequence[Mapping[str, str]]) -> dict[tuple[str, ...], Run]:
    """The judge jobs of each run, from those of each attack: run, as `run_text` writes it -> job.

    Clean accuracy of a deterministic model is one job, whatever the attack seeds, and that of a victim with fresh draws is
    one for all baked draws of the attacker: it counts once for each model.
    """
    runs: dict[tuple[str, ...], Run] = {}
    for run in jobs[0]:
        runs.setdefault(tuple(of_attack[run] for of_attack in jobs), run_of(run))
    return runs


def run_text(run: Run) -> str:
    """A run as rows name it: "training seed/attack seed", and "/bake" behind it if a baked draw stands for the model."""
    return "/".join(map(str, run))


def run_of(text: str) -> Run:
    """The run that rows name so."""
    return tuple(map(int, text.split("/")))


def shares_models(first: Row, second: Row) -> bool:
    """Whether two rows judge the same trained models, seed by seed."""
    return bool(first.jobs.train) and first.jobs.train == second.jobs.train
