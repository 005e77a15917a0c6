"""Each check finds the defect that is planted for it, and an honest model is not broken."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import defects
import pytest

import robuststack as rs
from robuststack.evidence.checks.ladder import BAKES
from robuststack.leaderboard.audit import RowAudit
from robuststack.plan.specs import parse_spec
from robuststack.running.store import Store
from robuststack.suite.single_model import single_suite

Ask = Callable[..., RowAudit]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Ask some checks of a model of `defects`."""

    def audited(
        model: str, *checks: str, attacks: Sequence[str] = ("pgd",), images: int = 60, stochastic: bool = False
    ) -> RowAudit:
        suite = single_suite(
            dataset=defects.DATASET, python=f"defects:{model}", attacks=attacks, eps=defects.EPS,
            overrides=["evaluate.block=60", "precision=float32", f"defenses.0.model.stochastic={str(stochastic).lower()}"],
        )  # fmt: skip
        result = rs.audit(suite, checks=checks, images=images, store=tmp_path / "store", leaderboard=None, device="cpu")
        (row,) = result.audit.rows
        return row

    return audited


def test_an_honest_model_is_not_broken(ask):
    row = ask("honest", "logits", "fresh", "eot", "steps", "stronger", "cross", "order", "eps", "blackbox")
    assert row.broken == row.weak == []
    words = {check: verdict.verdict for check, verdict in row.by_check.items()}
    assert words["LOGITS"] == words["BLACKBOX"] == "holds"
    assert [check for check, word in words.items() if word == "none"] == ["FRESH", "EOT", "CROSS"]


def test_an_honest_randomised_model_is_not_broken(ask):
    row = ask("noisy", "fresh", "eot", "order", attacks=["pgd steps=5 draws=8"], stochastic=True)
    assert row.broken == row.weak == []
    assert row.by_check["FRESH"].verdict == "holds"


@pytest.mark.parametrize(
    ("model", "check", "word", "attack"),
    [
        ("honest", "STEPS", "weak", "pgd steps=1 step=0.07"),
        ("large_logits", "STRONGER", "weak", "pgd"),
        ("misleading", "ORDER", "broken", "pgd"),
        ("misleading", "EPS", "broken", "pgd"),
        ("rounded", "EPS", "broken", "pgd"),
        ("rounded", "BLACKBOX", "broken", "pgd"),
    ],
)
def test_a_planted_defect_is_found(ask, model, check, word, attack):
    verdict = ask(model, check, attacks=[attack]).by_check[check]
    assert verdict.verdict == word, verdict.text
    assert verdict.figure > verdict.threshold
    assert verdict.jobs


@pytest.mark.parametrize(
    ("model", "check", "word", "attack"),
    [
        ("hidden", "EOT", "weak", "pgd steps=5 draws=1"),
        ("informed", "FRESH", "broken", "pgd steps=3 draws=2"),
    ],
)
def test_a_defect_planted_in_noise_is_found(ask, model, check, word, attack):
    verdict = ask(model, check, attacks=[attack], stochastic=True).by_check[check]
    assert verdict.verdict == word, verdict.text


def test_a_weak_attack_lowers_ra_worst_on_all_audited_images(ask):
    row = ask("large_logits", "STRONGER")
    assert row.ra.n == row.ra_worst.n == 120
    assert row.ra.low > 70
    assert row.ra_worst.high < 50


def test_without_other_images_a_finding_needs_more_evidence(ask):
    row = ask("large_logits", "STRONGER", images=120)
    assert row.others == 0
    verdict = row.by_check["STRONGER"]
    assert verdict.verdict == "weak"
    assert "other images" not in verdict.text


def test_images_of_another_setting_that_fool_better_are_found(tmp_path):
    suite = single_suite(
        dataset=defects.DATASET, defense="sharpened", points=["sharp=false", "sharp=true"], attacks=["pgd"],
        eps=defects.EPS, overrides=["evaluate.block=60", "precision=float32"],
    )  # fmt: skip
    result = rs.audit(suite, checks=["CROSS"], images=60, store=tmp_path, leaderboard=None, device="cpu",
                      registry=defects.registry())  # fmt: skip
    plain, sharp = result.audit.rows
    assert (plain.badge, sharp.badge) == ("holds", "weak: CROSS")
    assert "PGD-20 for tradeoff/own network/sharpened sharp=False" in sharp.by_check["CROSS"].text


def test_an_attacker_who_ignores_the_noise_and_finds_more_is_found(tmp_path):
    suite = single_suite(
        dataset=defects.DATASET, defense="veiled", attacks=["pgd steps=5 draws=1"], eps=defects.EPS,
        overrides=["evaluate.block=60", "precision=float32"],
    )  # fmt: skip
    result = rs.audit(suite, checks=["LADDER"], images=60, store=tmp_path, leaderboard=None, device="cpu",
                      registry=defects.registry())  # fmt: skip
    (row,) = result.audit.rows
    verdict = row.by_check["LADDER"]
    assert verdict.verdict == "weak", verdict.text
    assert "noise off" in verdict.text
    assert "no surrogate: defense 'veiled' draws noise of which no single draw can be kept" in verdict.text


def test_what_secrecy_of_the_draw_is_worth_is_told(trained, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(trained.store, store)
    label = "tradeoff/resnet8/float lambda_n=1 lambda_th=0"
    result = rs.audit(
        trained.suite, checks=["LADDER"], only=label, images=40, store=store, leaderboard=None, device="cpu"
    )
    verdict = result.audit.by_label[label].by_check["LADDER"]
    assert verdict.verdict in ("holds", "open", "weak")
    assert re.search(r"RA [\d.]+ % if the attacker knows the draw, [\d.]+ % if it is secret: secrecy is", verdict.text)
    judged = [parse_spec(Store(store).result(job)) for job in verdict.jobs]
    assert sorted(spec.bake for spec in judged if spec.bake is not None) == list(range(BAKES))


def test_few_images_a_wide_interval_and_one_seed_are_each_told(ask):
    verdict = ask("honest", "STAT").by_check["STAT"]
    assert verdict.verdict == "open"
    assert "120 images, fewer than 200" in verdict.text
    assert "points to either side, more than 5" in verdict.text
