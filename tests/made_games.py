"""A whole game for tests that need one."""

from __future__ import annotations

from typing import Any

from robuststack.leaderboard.game import Game


def make_game(**changes: Any) -> Game:
    """A game of two settings whose value is an upper bound, with some of its keys changed."""
    content: dict[str, Any] = {
        "variant": ["digits", "resnet8"], "threat": {"norm": "linf", "eps": 0.1}, "defense": "oat", "shown": {"dim": 4},
        "settings": [
            {"name": f"lambda={knob}", "rows": [f"digits/resnet8/oat lambda={knob}"], "clean": clean, "known": known,
             "share": share}
            for knob, clean, known, share in ((0, 98.0, 10.0, 0.25), (1, 90.0, 40.0, 0.75))
        ],
        "craftings": [
            {"attack": "PGD-20", "against": "lambda=0", "accuracy": [12.0, 80.0]},
            {"attack": "PGD-20", "against": "lambda=1", "accuracy": [70.0, 41.0]},
            {"attack": "PGD-20", "against": "mixture, round 1", "accuracy": [20.0, 45.0]},
        ],
        "least_clean": 90.0,
        "hidden": {"value": 42.0, "low": 37.0, "high": 47.0}, "seen": {"value": 32.5, "low": 28.0, "high": 37.0},
        "hiding": {"value": 9.5, "low": 6.0, "high": 13.0}, "one_for_all": {"value": 45.0, "low": 40.0, "high": 50.0},
        "values": [60.0, 42.0], "upper_bound": True, "jobs": {"0/0": "game-0123456789abcdef"},
        **changes,
    }  # fmt: skip
    return Game.model_validate(content, strict=False)
