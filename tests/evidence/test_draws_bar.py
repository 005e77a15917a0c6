"""The bar of `draws: auto`: within a point of 100 draws, at a third of their passes. `pytest -m bench -s` runs it (three
quarters of an hour on one core)."""

from __future__ import annotations

from pathlib import Path

import pytest

import robuststack as rs

SUITE = """
name: draws
datasets: digits
architectures: {name: resnet8, options: {width: 8}}
threat: {eps: 0.15}
train: {epochs: 2, batch_size: 32, attack: {name: pgd, options: {steps: 3, step: relative}}}
defenses:
- {name: float, points: {lambda_n: [1]}}
- {name: pni, points: {lambda_n: [1]}}
- {name: random_resize, options: {resized: true, lambda: 1}, points: {largest: [1.125]}}
attacks:
- {name: pgd, label: auto, options: {steps: 5, draws: auto}}
- {name: pgd, label: "100", options: {steps: 5, draws: 100}}
seeds: {train: [0], attack: [0, 1, 2]}
evaluate: {draws: 20}
measure: {latency: false}
precision: float32
"""
IMAGES, PROBE = 2000, 500
"""The bar is for as many images; the probe has fewer."""


@pytest.mark.bench
@pytest.mark.timeout(0)
def test_chosen_draws_are_as_strong_as_a_hundred_at_a_third_of_the_passes(tmp_path: Path) -> None:
    path = tmp_path / "draws.yaml"
    path.write_text(SUITE)
    result = rs.run(path, store=tmp_path / "store", leaderboard=None, device="cpu")
    assert not result.failed
    lines, missed = [], []
    for row in result.rows:
        for seeds, choice in row.draws_chosen["auto"].items():
            auto, hundred = ((row.ra[label].seeds or {})[seeds] for label in ("auto", "100"))
            passes = [point.passes for point in choice.curve]
            used = next(point.passes for point in choice.curve if point.draws == choice.draws)
            per_draw = choice.curve[0].passes
            share = (sum(passes) * PROBE + used * IMAGES) / (100 * per_draw * IMAGES)
            tried = " ".join(f"{point.draws}:{point.accuracy:.1f}" for point in choice.curve)
            lines.append(
                f"{row.title} seeds {seeds}: draws {choice.text}, RA {auto:.2f}, with 100 draws {hundred:.2f},"
                f" passes {100 * share:.0f} % of 100 draws at n = {IMAGES}; probe of {choice.n}: {tried}"
            )
            if auto - hundred > 1 or (share > 1 / 3 and not choice.cap_reached):
                missed.append(lines[-1])
    print("\n".join(lines))
    assert not missed
