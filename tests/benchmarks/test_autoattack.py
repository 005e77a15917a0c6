"""AutoAttack for randomised models against pyautoattack, whole: 5 seeds, 20 draws, 100 iterations (half an hour)."""

from __future__ import annotations

import pytest

from conftest import Trained
from peers import Rand, compare_rand, images, view

pytestmark = pytest.mark.bench
BOUND = 2.0
"""Points of robust accuracy."""


@pytest.mark.timeout(7200)
def test_autoattack_rand_finds_what_pyautoattack_finds(trained: Trained) -> None:
    rand = Rand(eps=0.15, iterations=100, draws=20)
    runs, protocol = compare_rand(rand, view(trained, "float", lambda_n=1.0), *images(500), seeds=5, draws=20)
    print(f"\nthe library's runs less ours: {runs}\nthe library's whole evaluation less ours: {protocol}")
    assert -BOUND < runs.low < runs.high < BOUND
    assert protocol.low > -BOUND
