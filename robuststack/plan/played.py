"""A game as its judge jobs tell it, before any mixture was attacked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from robuststack.evidence.game import ModelGame
from robuststack.plan.specs import GameSpec


def model_game(spec: GameSpec, judged: Mapping[str, Mapping[str, np.ndarray]]) -> ModelGame:
    """The game of one model; `judged` is what its judge jobs keep: `labels` [M, n] and `truth` [n]."""
    clean = [judged[job] for job in spec.clean]
    return ModelGame(
        labels=tuple(
            np.stack([judged[row.judged[place]]["labels"] for row in spec.rows]) for place in range(len(spec.settings))
        ),
        truth=clean[0]["truth"],
        clean=tuple(float((kept["labels"] == kept["truth"]).mean()) for kept in clean),
        least_clean=None if spec.least_clean is None else spec.least_clean / 100,
    )
