"""The figures of rows from the labels behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from robuststack.evidence.figures import SeedFigure, measured
from robuststack.evidence.readings import EXPECTED, Reading
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.row import CLEAN, WORST, Figure
from robuststack.leaderboard.row_labels import distinct_runs, run_text

Jobs = Mapping[str, Mapping[str, str]]
"""`ca` or an attack's label -> run, as `run_text` writes it -> judge job, as `RowJobs.scores` has them."""


def figures(jobs: Jobs, labels: Callable[[str], Labels], reading: Reading = EXPECTED) -> dict[str, Figure]:
    """Each figure of one protocol of a row, `worst` over all attacks too; `labels` gives those of a judge job.

    Raises:
        TooFewDraws: there are too few draws for the reading, or for its interval.
    """
    attacks = [label for label in jobs if label != CLEAN]
    made_of = {**{figure: [figure] for figure in jobs}, WORST: attacks}
    return {
        figure: rounded(_measured([jobs[part] for part in parts], labels, reading)) for figure, parts in made_of.items()
    }


def _measured(jobs: Sequence[Mapping[str, str]], labels: Callable[[str], Labels], reading: Reading) -> SeedFigure:
    judged = {run: [labels(job) for job in of_run] for of_run, run in distinct_runs(jobs).items()}
    truth = next(iter(judged.values()))[0].truth
    return measured({run: [of_job.labels for of_job in of_run] for run, of_run in judged.items()}, truth, reading)


def rounded(figure: SeedFigure) -> Figure:
    """A figure as rows hold it, in percent."""

    def percent(share: float) -> float:
        return round(100 * share, 4)

    units = figure.units
    several = len(units) > 1
    return Figure(
        value=percent(figure.value),
        low=percent(figure.low),
        high=percent(figure.high),
        interval=figure.interval,
        seeds={run_text(run): percent(value) for run, value in figure.seeds.items()} if several else None,
        lowest=percent(min(units)) if several else None,
        highest=percent(max(units)) if several else None,
        spread=None if figure.spread is None else percent(figure.spread),
    )
