"""The figures of rows from the labels behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robuststack.evidence.figures import SeedFigure, SeedValue, read
from robuststack.evidence.readings import EXPECTED, Reading
from robuststack.leaderboard.board_labels import Labels, comparable
from robuststack.leaderboard.record import percent
from robuststack.leaderboard.row import CLEAN, WORST, Figure, Latency, ReadFigure, ReadScores
from robuststack.leaderboard.row_labels import distinct_runs, run_text

Jobs = Mapping[str, Mapping[str, str]]
"""`ca` or an attack's label -> run, as `run_text` writes it -> judge job, as `RowJobs.scores` has them."""
LabelsOf = Callable[[str], Labels]
"""What a judge job predicted."""


def figures(jobs: Jobs, labels: LabelsOf) -> dict[str, Figure]:
    """Each figure of one protocol of a row by the expected reading, `worst` over all attacks too."""
    return {name: Figure(**_facts(figure)) for name, figure in _read(jobs, labels, EXPECTED).items()}


def read_scores(
    jobs: Jobs, labels: LabelsOf, reading: Reading, *, macs: int, latency_ms: Mapping[int, Latency]
) -> ReadScores:
    """A row by one protocol and another reading; `macs` and `latency_ms` are those of one forward pass.

    Raises:
        TooFewDraws: there are fewer draws than the reading takes.
    """
    robust = {name: ReadFigure(**_facts(figure)) for name, figure in _read(jobs, labels, reading).items()}
    clean = robust.pop(CLEAN)
    randomised = len(labels(next(iter(jobs[CLEAN].values()))).labels) > 1
    passes = reading.size if reading.kind == "majority" and randomised else 1
    latency = {batch: timed * passes for batch, timed in latency_ms.items()}
    return ReadScores(ca=clean, ra=robust, passes=passes, macs=passes * macs, latency_ms=latency)


def rounded(figure: SeedValue) -> ReadFigure:
    """A figure as rows hold it, in percent."""
    return ReadFigure(**_facts(figure))


def _read(jobs: Jobs, labels: LabelsOf, reading: Reading) -> dict[str, SeedValue]:
    attacks = [label for label in jobs if label != CLEAN]
    made_of = {**{figure: [figure] for figure in jobs}, WORST: attacks}
    return {name: _measured([jobs[part] for part in parts], labels, reading) for name, parts in made_of.items()}


def _measured(jobs: Sequence[Mapping[str, str]], labels: LabelsOf, reading: Reading) -> SeedValue:
    comparable({job: labels(job) for of_attack in jobs for job in of_attack.values()})
    judged = {run: [labels(job) for job in of_run] for of_run, run in distinct_runs(jobs).items()}
    truth = next(iter(judged.values()))[0].truth
    return read({run: [of_job.labels for of_job in of_run] for run, of_run in judged.items()}, truth, reading)


def _facts(figure: SeedValue) -> dict[str, Any]:
    units = figure.units
    several = len(units) > 1
    return {
        "value": percent(figure.value),
        "low": percent(figure.low) if isinstance(figure, SeedFigure) else None,
        "high": percent(figure.high) if isinstance(figure, SeedFigure) else None,
        "interval": figure.interval if isinstance(figure, SeedFigure) else "none",
        "seeds": {run_text(run): percent(value) for run, value in figure.seeds.items()} if several else None,
        "lowest": percent(min(units)) if several else None,
        "highest": percent(max(units)) if several else None,
        "spread": None if figure.spread is None else percent(figure.spread),
    }
