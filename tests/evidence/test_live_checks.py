"""Checks that look at live models and at what attacks returned find what is planted, and leave honest models alone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import defects
import layered
import pytest
import torch
from unsteady import BEYOND

import robuststack as rs
from robuststack.engine.fitted import fit
from robuststack.engine.probes.binary import RIDGE, discriminant, features
from robuststack.engine.runtime import Runtime
from robuststack.evidence.checks.verdict import Verdict
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from robuststack.suite.single_model import single_suite

Ask = Callable[..., Verdict]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Ask one check of a model, `module:function`."""

    def verdict(model: str, check: str, attack: str = "pgd steps=5", *, stochastic: bool = False) -> Verdict:
        suite = single_suite(
            dataset=defects.DATASET, python=model, attacks=[attack], eps=defects.EPS,
            overrides=["evaluate.block=60", "precision=float32", f"defenses.0.model.stochastic={str(stochastic).lower()}"],
        )  # fmt: skip
        result = rs.audit(suite, checks=[check], images=60, store=tmp_path / "store", leaderboard=None, device="cpu",
                          registry=defects.registry())  # fmt: skip
        assert not result.failed
        return result.audit.rows[0].by_check[check]

    return verdict


@pytest.mark.parametrize(
    ("model", "check", "attack", "stochastic", "text"),
    [
        ("unsteady:averaging", "MODE", "pgd steps=2", False, "norm.running_mean and 2 more moves: its module trains"),
        ("unsteady:drifting", "MODE", "fgsm", False, "a pass changes calls, and the next one moves logits by"),
        ("unsteady:sociable", "BATCH", "fgsm", False, r"\d+ of 60 images get another label in batches of 1 than"),
        ("unsteady:sociable", "BATCH", "fgsm", False, r"\d+ images get another label beside other images"),
        ("unsteady:sociable_noise", "BATCH", "fgsm", True, r"\d+ images get another label beside other images"),
        ("unsteady:trembling", "STOCHASTIC", "fgsm", False, "9 of 9 passes differ from the first"),
        ("defects:honest", "STOCHASTIC", "fgsm", True, "0 of 9 passes differ from the first, by up to 0 %"),
        ("defects:rounded", "GRAD", "pgd", False, "100.0 % of the gradients of PGD-20 at the first images are zero"),
        ("defects:large_logits", "GRAD", "pgd", False, "are zero or no numbers, 5 % are allowed"),
        ("defects:detector", "GRAD", "pgd steps=5", False, r"\d+.\d % of the gradients of PGD-5 are zero"),
        ("defects:buried", "GRAD", "pgd steps=2 draws=1", True, r"over 1 draws have a cosine of -?0.0\d, at least 0.1"),
        ("layered:rounded", "BINARY", "pgd", False, "PGD-40x5 finds 0 of 60 planted images"),
        ("layered:winners", "BINARY", "pgd", False, r"through 128 inputs of readout: it misses at least \d+"),
        ("layered:honest", "BINARY", "pgd steps=1 step=0.01", False, r"PGD-2x5 finds \d of 60 planted images"),
        ("layered:buried", "BINARY", "pgd steps=5 draws=1", True, r"PGD-10x5 finds \d of 60 planted images"),
    ],
)  # fmt: skip
def test_a_planted_defect_is_found(ask, model, check, attack, stochastic, text):
    verdict = ask(model, check, attack, stochastic=stochastic)
    assert verdict.verdict == "broken", verdict.text
    assert re.search(text, verdict.text), verdict.text
    assert verdict.jobs


@pytest.mark.parametrize("check", ["BOX", "MODE", "BATCH", "STOCHASTIC", "GRAD", "BINARY"])
@pytest.mark.parametrize(("model", "stochastic"), [("honest", False), ("noisy", True)])
def test_an_honest_model_is_not_broken(ask, check, model, stochastic):
    verdict = ask(f"layered:{model}", check, "pgd steps=5 draws=4", stochastic=stochastic)
    assert verdict.verdict == "holds", verdict.text


def test_trained_models_are_not_broken(trained, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(trained.store, store)
    checks = ["BOX", "LOGITS", "MODE", "BATCH", "STOCHASTIC", "GRAD", "BINARY"]
    result = rs.audit(trained.suite, checks=checks, images=12, store=store, leaderboard=None, device="cpu")
    assert not result.failed
    for row in result.audit.rows:
        assert row.broken == row.weak == [], [verdict.text for verdict in row.verdicts]
        assert row.by_check["BINARY"].jobs


def test_a_readout_is_climbed_by_its_own_logits_and_not_by_a_surrogate_of_the_model(ask):
    verdict = ask("layered:surrogated", "BINARY", "pgd steps=5")
    assert verdict.verdict == "holds", verdict.text


def test_a_count_of_calls_is_no_defect(ask):
    verdict = ask("unsteady:counting", "MODE", "fgsm")
    assert (verdict.verdict, verdict.text) == ("holds", "a pass changes calls, without effect")


def test_a_test_that_random_search_passes_says_nothing(ask):
    verdict = ask("defects:honest", "BINARY")
    assert verdict.verdict == "open"
    assert re.search(r"random search \d+.\d %, through the logits: too easy to say much", verdict.text)


def test_an_ensemble_that_needs_more_classes_is_tested_by_its_cross_entropy(ask):
    verdict = ask("layered:honest", "BINARY", "autoattack_rand iterations=5")
    assert verdict.text.startswith("APGD-CE iterations=10 restarts=5 finds 60 of 60 planted images (100.0 %)")


def test_features_of_one_image_are_its_own_if_the_network_gets_it_twice():
    model, (images, _) = layered.Paired(), defects.data()
    view = View(model)
    assert fit(model, view, tuple(images.shape[1:]), Runtime(Hardware("cpu", "float32"))).pairs
    alone, both = (features(view, model.readout, images[:count]) for count in (1, 2))
    assert alone.shape == (1, layered.WIDTH)
    assert torch.allclose(alone, both[:1], atol=1e-5)


@pytest.mark.parametrize(
    ("attack", "figure", "text"),
    [
        ("outside", pytest.approx(BEYOND, rel=1e-3), "outside left the ball or [0, 1] by 0.001, 1e-06 is rounding"),
        ("lost", 0.0, "lost returned 384 pixels that are no numbers"),
    ],
)
def test_an_attack_that_breaks_the_rules_is_found(ask, attack, figure, text):
    verdict = ask("defects:honest", "BOX", attack)
    assert (verdict.verdict, verdict.figure, verdict.text) == ("broken", figure, text)


def test_the_discriminant_is_the_direct_solution():
    source = torch.Generator().manual_seed(0)
    inner, planted = torch.randn(30, 5, generator=source), torch.randn(5, generator=source)
    spread = (inner - inner.mean(0)).double()
    covariance = spread.T @ spread / len(inner)
    ridge = RIDGE * covariance.diagonal().mean() * torch.eye(5)
    direct = torch.linalg.solve(covariance + ridge, (planted - inner.mean(0)).double())
    direction = discriminant(inner, planted).double()
    assert torch.allclose(direction / direction.norm(), direct / direct.norm(), atol=1e-5)
