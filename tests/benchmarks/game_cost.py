"""What a game costs beside the plain suite: `python tests/benchmarks/game_cost.py`.

OAT at its four settings on `tradeoff`, as suites/float_vs_oat.yaml has it, under PGD-20 without early stop, in one thread.
Times are processor time, of attacks and their judging; the training is shared.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import robuststack as rs

SUITE = Path(__file__).parents[2] / "suites" / "float_vs_oat.yaml"
SETTINGS = ["measure.latency=false", "precision=float32", "threads=1"]
ATTACK = "attacks=[{name: pgd, options: {steps: 20, early_stop: false}}]"


def run(store: Path, *overrides: str) -> tuple[float, rs.Result]:
    """Processor seconds of a run of the rows, and what it came to."""
    began = time.process_time()
    result = rs.run(
        SUITE, store=store, leaderboard=None, device="cpu", overrides=[*SETTINGS, *overrides], only="tradeoff*/oat*"
    )
    assert not result.failed
    return time.process_time() - began, result


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        trained = Path(folder, "trained")
        run(trained, "attacks=noise")
        for name in ("plain", "played"):
            shutil.copytree(trained, Path(folder, name))
        plain, _ = run(Path(folder, "plain"), ATTACK)
        played, result = run(Path(folder, "played"), ATTACK, "evaluate.game=true")
    (game,) = result.games
    print(f"the suite {plain:.1f} s, with its game {played:.1f} s: {played / plain:.2f} times")
    print(f"rounds: {len(game.values) - 1}; the best mixture: {game.mixture}")


if __name__ == "__main__":
    main()
