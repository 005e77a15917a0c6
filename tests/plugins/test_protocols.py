"""The published protocol of FLOAT flatters it: at lambda_n = 0 its attacker sees noise that is not deployed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

import robuststack as rs
from peers import REGISTRY, images, perturb, right, view
from trained import Trained

EPS = 0.15
"""A radius at which the attack fools some images and not others."""


@pytest.fixture(scope="module")
def scored(trained: Trained) -> Callable[[str, float], torch.Tensor]:
    """(protocol, factor on the learned noise scales) -> whether FLOAT at lambda_n = 0 is right about each image."""
    defense: rs.Defense = REGISTRY.create("defense", "float")
    attack = REGISTRY.create("attack", "pgd", {"steps": 10, "draws": 5})
    x, y = images(1000)

    def score(protocol: str, factor: float) -> torch.Tensor:
        model = copy.deepcopy(view(trained, "float", lambda_n=0.0).model)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith(".alpha"):
                    parameter.mul_(factor)
        scoring = defense.protocols({"lambda_n": 0.0, "lambda_th": 0.0})[protocol]
        used = attack if scoring.draws is None else attack.with_draws(scoring.draws)
        attacked = perturb(used, defense.view(model, scoring.attacker), x, y, EPS)
        return right(defense.view(model, scoring.victim), attacked, y)

    return score


def test_the_louder_the_noise_the_more_the_published_protocol_flatters(scored):
    adaptive = scored("adaptive", 1.0)
    assert 0.02 < float(adaptive.mean()) < 0.8
    assert torch.equal(scored("adaptive", 8.0), adaptive), "no noise is deployed at lambda_n = 0"
    gaps = [100 * float((scored("published", factor) - adaptive).mean()) for factor in (1.0, 3.0, 8.0)]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 10
