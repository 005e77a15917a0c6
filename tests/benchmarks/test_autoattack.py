"""APGD and AutoAttack-rand against pyautoattack: 1,000 images; on FLOAT 300 of them, 5 seeds, 20 draws."""

from __future__ import annotations

import pytest

from peers import Rand, compare_rand, images, rand_from_one_start, right, same_start, view
from trained import Trained

pytestmark = pytest.mark.bench
BOUND, OWN_NOISE_BOUND = 1.0, 2.0
"""Points of robust accuracy, where both sides see the same noise and where each has its own."""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["apgd_ce", "apgd_dlr", "autoattack_rand"])
@pytest.mark.parametrize(("defense", "eps"), [("none", 0.02), ("pgd_at", 0.15)])
def test_from_one_start_verdicts_are_pyautoattacks(trained: Trained, defense: str, eps: float, name: str) -> None:
    attacked, (x, y) = view(trained, defense), images(1000)
    ours, theirs = (right(attacked, batch, y) for batch in same_start(name, attacked, x, y, eps, iterations=100))
    agreement = float((ours == theirs).float().mean())
    print(f"\n{name} on {defense}: RA {100 * ours.mean():.1f} against {100 * theirs.mean():.1f}, {agreement:.3f} agree")
    assert 0.05 < float(theirs.mean()) < 0.95 * float(right(attacked, x, y).mean())
    assert agreement >= 0.99


@pytest.mark.timeout(7200)
def test_on_a_randomised_model_it_finds_what_pyautoattack_finds(trained: Trained) -> None:
    attacked = view(trained, "float", lambda_n=1.0)
    difference = rand_from_one_start(attacked, 0.15, count=300, iterations=50, draws=20, seeds=5)
    print(f"\npyautoattack less ours, with the same noise: {difference}")
    assert -BOUND < difference.low <= difference.high < BOUND


@pytest.mark.timeout(7200)
def test_with_noise_of_its_own_it_finds_what_pyautoattack_finds(trained: Trained) -> None:
    rand = Rand(eps=0.15, iterations=50, draws=20)
    runs, protocol = compare_rand(rand, view(trained, "float", lambda_n=1.0), *images(300), seeds=5, draws=20)
    print(f"\nthe library's runs less ours: {runs}\nthe library's whole evaluation less ours: {protocol}")
    assert -OWN_NOISE_BOUND < runs.low < runs.high < OWN_NOISE_BOUND
    assert protocol.low > -OWN_NOISE_BOUND
