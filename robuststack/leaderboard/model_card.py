"""A model card: what a trained model is, what its figures are at every point, and what they do not say, as Markdown.

The head is YAML, as model hubs read it (Mitchell et al., Model Cards for Model Reporting, FAT* 2019).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robuststack.errors import LeaderboardError, RobustStackError
from robuststack.leaderboard.audit import RowAudit
from robuststack.leaderboard.audit_file import board_files, find_audit
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.cited import citation, of_board
from robuststack.leaderboard.columns import EVERYTHING, Column, accuracies, audited, macs, named, shifts
from robuststack.leaderboard.method_text import recipe_text
from robuststack.leaderboard.row import ReadFigure, Row
from robuststack.leaderboard.row_labels import run_of
from robuststack.leaderboard.suspicion import suspicions
from robuststack.plugin.registry import Registry
from robuststack.wording import component_text, options_text

HUB_JOB = "robuststack_job"
"""The key of the head by which a hub tells whose card a repository holds."""


@dataclass(frozen=True)
class CardedModel:
    """A train job, the rows of its model on a leaderboard, and what an audit found of them."""

    job: str
    board: Board
    rows: tuple[Row, ...]
    audits: dict[str, RowAudit]

    @property
    def seed(self) -> int:
        """The training seed of the model."""
        return next(seed for seed, job in self.rows[0].jobs.train.items() if job == self.job)

    @property
    def knobs(self) -> list[str]:
        """What it is tuned by at deployment."""
        first = self.rows[0]
        return [key for key in first.point if key not in first.retrained]

    @property
    def name(self) -> str:
        """What files are named after: `digits/resnet8/float seed 1`."""
        first = self.rows[0]
        seed = f" seed {self.seed}" if len(first.jobs.train) > 1 else ""
        return f"{'/'.join(first.variant)}/{self.title}{seed}"

    @property
    def title(self) -> str:
        """`pgd_at lambda=0.2`: the defense, and what this model was trained with that others were not."""
        first = self.rows[0]
        return component_text(first.defense, {**first.shown, **{key: first.point[key] for key in first.retrained}})


def find_model(job: str, folder: Path) -> CardedModel:
    """The model of a train job, by its id or an unambiguous beginning of it, on the leaderboard of a folder that scores it
    at the most points, and of these on one with an audit.

    Raises:
        LeaderboardError: no leaderboard scores such a model, or several models are meant.
    """
    scored: dict[str, list[CardedModel]] = {}
    for file in board_files(folder):
        board = _board(file)
        by_job: dict[str, list[Row]] = {}
        for row in board.rows if board else ():
            for trained in row.jobs.train.values():
                by_job.setdefault(trained, []).append(row)
        for trained, rows in by_job.items():
            if board and trained.startswith(job):
                model = CardedModel(trained, board, tuple(rows), find_audit(file, rows))
                scored.setdefault(trained, []).append(model)
    if len(scored) > 1:
        raise LeaderboardError(f"{len(scored)} train jobs begin with {job}: {', '.join(sorted(scored)[:4])}")
    if not scored:
        raise LeaderboardError(f"no leaderboard in {folder} scores a model of a train job {job}: run its suite first")
    (models,) = scored.values()
    return max(
        models, key=lambda model: (len(model.rows), len(model.audits), not model.board.suite.endswith(".partial"))
    )


def model_card(model: CardedModel, registry: Registry) -> str:
    """The card, as Markdown."""
    first, labels = model.rows[0], {row.label for row in model.rows}
    parts = [
        _head(model),
        f"# {model.name}",
        _description(model),
        "## Figures",
        *_figures(model),
        "## What the figures do not say",
        "\n".join(f"- {line}" for line in _limits(model)),
        "## Use",
        _use(model),
        "## Training",
        f"{recipe_text(first.recipe)}." if first.recipe else "The model was not trained by RobustStack.",
        "## Citation",
        f"```bibtex\n{citation([row for row in of_board(model.board) if row.label in labels], registry)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _board(file: Path) -> Board | None:
    """A leaderboard of the folder; what is none, or of another version, is left to those who ask for it."""
    try:
        return read_board(file)
    except RobustStackError:
        return None


def _head(model: CardedModel) -> str:
    """YAML; JSON texts are YAML too."""
    row = model.rows[0]
    tags = ["robuststack", "adversarial-robustness", "image-classification", row.defense]
    lines = [
        "library_name: robuststack",
        "pipeline_tag: image-classification",
        f"datasets: {json.dumps([row.dataset])}",
        "metrics: [accuracy]",
        f"tags: {json.dumps(tags)}",
        f"{HUB_JOB}: {model.job}",
    ]
    return "\n".join(["---", *lines, "---"])


def _description(model: CardedModel) -> str:
    first = model.rows[0]
    tuned = f" At deployment it is tuned by {' and '.join(model.knobs)}." if model.knobs else ""
    noise = " Two forward passes of a randomised point differ." if _noisy(model.rows) else ""
    options = options_text(first.architecture_options) or "none"
    return (
        f"The network {first.architecture} (options: {options}), trained on `{first.dataset}` by the defense"
        f" `{model.title}` with RobustStack {first.versions.robuststack}. The job is `{model.job}`, its training seed"
        f" {model.seed}.{tuned}{noise}"
    )


def _figures(model: CardedModel) -> list[str]:
    """A table for each data set and threat model, and how it was measured."""
    parts = []
    groups: dict[str, list[Row]] = {}
    for row in model.rows:
        groups.setdefault(row.heading, []).append(row)
    several = len(model.rows[0].jobs.train) > 1
    for heading, rows in groups.items():
        there = {label for row in rows for label in row.single_attacks}
        attacks = [attack.label for attack in model.board.attacks if attack.label in there]
        own = [_own("CA", model.seed), _own("RA worst", model.seed)] if several else []
        shown = [*named(), *accuracies(attacks), *shifts(rows), *own, *audited(model.audits), macs()]
        table = EVERYTHING.table(shown, rows, "github")
        first = rows[0]
        seeds = f", the mean of {len(first.jobs.train)} training seeds" if several else ""
        randomised = f", {max(row.draws for row in rows)} noise draws at randomised points" if _noisy(rows) else ""
        parts += [
            f"{heading}:",
            table,
            f"In percent with 95 % intervals{seeds}; {first.n} {first.split} images{randomised}; protocol"
            f" `{first.protocol}`. RA worst is the worst of all attacks, image by image.",
        ]
    return parts


def _own(title: str, seed: int) -> Column:
    """A figure of this model alone."""

    def value(row: Row) -> float | None:
        figure: ReadFigure = row.ca if title == "CA" else row.worst
        own = [value for run, value in (figure.seeds or {}).items() if run_of(run)[0] == seed]
        return sum(own) / len(own) if own else None

    def text(row: Row) -> str:
        own = value(row)
        return "-" if own is None else f"{own:.1f}"

    return Column(f"{title} of this seed %", text, value)


def _noisy(rows: Sequence[Row]) -> bool:
    return any(row.stochastic for row in rows)


def _limits(model: CardedModel) -> list[str]:
    """Doubts, verdicts of the audit, and what no figure says."""
    lines = [f"{row.label}: {doubt}." for row in model.rows for doubt in suspicions(row)]
    lines += [
        f"{label}, {verdict.check} is {verdict.verdict}: {verdict.text}."
        for label, audit in model.audits.items()
        for verdict in audit.doubts
    ]
    unaudited = [row.label for row in model.rows if row.label not in model.audits]
    if unaudited:
        lines.append(f"{len(unaudited)} of {len(model.rows)} rows were not audited (`robuststack audit`).")
    if len(model.rows[0].jobs.train) == 1:
        lines.append("One model was trained: the figures tell of this model, and not of its method.")
    return [*lines, "RA is an upper bound: a stronger attack can lower it, and other threat models were not tried."]


def _use(model: CardedModel) -> str:
    last = model.rows[-1]
    knobs = {key: last.point[key] for key in model.knobs}
    point = ", ".join(f"{'lambda_' if key == 'lambda' else key}={value!r}" for key, value in knobs.items())
    # With every digit, as above: what is exported is the point that was scored.
    written = " ".join(f"{key}={value!r}" for key, value in knobs.items())
    exported = f"robuststack export {model.job}" + (f' --point "{written}"' if knobs else "")
    classes = f" The classes are {', '.join(last.classes)}." if last.classes else ""
    return "\n\n".join([
        f"It takes images float32 [N, C, H, W] in [0, 1]; normalisation is a part of it.{classes} With its store:",
        f'```python\nimport robuststack as rs\n\nmodel = rs.load_model("{model.job}").at({point})\n```',
        f"As a file: `{exported}`.",
    ])  # fmt: skip
