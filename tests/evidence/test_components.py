"""Variance by its sources: what was put in comes out."""

from __future__ import annotations

import numpy as np
import pytest

from robuststack.evidence.components import components

TRUTH = np.zeros(4000, dtype=int)


def made(seed_sd: float, attack_sd: float, draw_sd: float, *, seeds: int, attacks: int, draws: int, seed: int = 0):
    random = np.random.default_rng(seed)
    images = np.clip(random.normal(0.5, 0.05, size=len(TRUTH)), 0, 1)
    labels = {}
    for model in range(seeds):
        of_model = random.normal(0, seed_sd)
        for attack in range(attacks):
            of_attack = of_model + random.normal(0, attack_sd)
            chance = np.clip(images + of_attack + random.normal(0, draw_sd, size=(draws, 1)), 0, 1)
            labels[model, attack] = np.where(random.random(chance.shape) < chance, 0, 1)
    return labels


def named(labels):
    return {part.name: part for part in components({pair: drawn == TRUTH for pair, drawn in labels.items()})}


def test_what_was_put_in_comes_out():
    parts = named(made(0.04, 0.02, 0.03, seeds=40, attacks=8, draws=10))
    assert parts["training seed"].sd == pytest.approx(4, rel=0.4)
    assert parts["attack seed"].sd == pytest.approx(2, rel=0.4)
    assert parts["inference draw"].sd == pytest.approx(3, rel=0.2)
    for part in parts.values():
        assert part.low <= part.sd <= part.high


def test_nothing_put_in_is_near_nothing():
    parts = named(made(0.0, 0.0, 0.0, seeds=6, attacks=3, draws=10))
    assert parts["training seed"].sd < 0.5
    assert parts["attack seed"].sd < 0.5


def test_one_seed_is_not_separable_and_one_draw_draws_nothing():
    parts = named(made(0.04, 0.0, 0.0, seeds=1, attacks=1, draws=1))
    assert parts["training seed"].sd is None
    assert str(parts["attack seed"]) == "attack seed: not separable"
    assert parts["inference draw"].sd == 0
    assert parts["test images"].sd > 0
