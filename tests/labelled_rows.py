"""Rows with the labels behind them, by how many images are right."""

from __future__ import annotations

import numpy as np
from made_rows import changed, make_row

from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.provenance import RowJobs, RowSeeds
from robuststack.leaderboard.row import Row

N = 500
TRUTH = np.zeros(N, dtype=np.int8)


def row_of(
    name: str, right: dict[str, list[int]], *, models: str | None = None, **changes: object
) -> tuple[Row, dict[str, Labels]]:
    """A row whose figures have so many images right in each training seed, the first ones of N; and its labels."""
    seeds = range(len(right["ca"]))
    scores = {figure: {f"{seed}/0": f"{name}-{figure}-{seed}" for seed in seeds} for figure in right}
    labels = {
        job: Labels(np.where(np.arange(N) < right[figure][seed], 0, 1)[None].astype(np.int8), TRUTH, "digits-1")
        for figure, jobs in scores.items()
        for seed, job in enumerate(jobs.values())
    }
    row = make_row(label=f"digits/resnet8/{name}", defense=name, n=N)
    train = {seed: f"train-{models or name}-{seed}" for seed in seeds}
    jobs = RowJobs(train=train, measure="measure", attacks={}, scores={"adaptive": scores})
    return changed(row, jobs=jobs, seeds=RowSeeds(train=tuple(seeds), attack=(0,)), **changes), labels
