"""Threat models of a suite: norms and radii, what knows them, and what is refused before any compute."""

from __future__ import annotations

import pytest

import robuststack as rs
from robuststack.errors import SuiteError
from robuststack.hardware import Hardware
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite

SUITE = """
datasets: {name: tradeoff, options: {images: 200, test_images: 40, size: 8, classes: 4}}
architectures: {name: resnet8, options: {width: 4}}
threat: {norm: l2, eps: 0.5}
train: {epochs: 1, batch_size: 50}
defenses: [none, pgd_at]
attacks: [fgsm, {name: pgd, options: {steps: 2}}]
measure: {latency: false}
"""
REGISTRY = Registry()


@pytest.fixture
def plan(tmp_path):
    def make(*overrides: str):
        path = tmp_path / "mine.yaml"
        path.write_text(SUITE)
        return make_plan(load_suite(path, overrides), REGISTRY, Hardware("cpu", "float32"))

    return make


@pytest.fixture
def refusal(plan, tmp_path):
    def make(*overrides: str) -> str:
        with pytest.raises(SuiteError) as caught:
            plan(*overrides)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return make


def test_each_row_has_the_norm_and_the_radius_of_its_threat(plan):
    threats = [row.facts["threat"] for row in plan("threat=[{norm: l2, eps: 3}, {eps: 0.1}]").rows]
    assert {(threat["norm"], threat["eps"]) for threat in threats} == {("l2", 3.0), ("linf", 0.1)}
    (own,) = {
        (row.facts["threat"]["norm"], row.facts["threat"]["eps"]) for row in plan("datasets.threat={eps: 3}").rows
    }
    assert own == ("l2", 3.0)
    (norm,) = {row.facts["threat"]["norm"] for row in plan("threat={eps: 0.1}", "datasets.threat={norm: l2}").rows}
    assert norm == "l2"


def test_two_norms_of_one_radius_are_told_apart(plan):
    shown = [row.facts["shown"] for row in plan("threat=[{norm: l2, eps: 0.1}, {eps: 0.1}]").rows]
    assert {facts["norm"] for facts in shown} == {"l2", "linf"}


@pytest.mark.parametrize(("threat", "label"), [("{norm: l2, eps: 0.5}", "FGM"), ("{eps: 0.1}", "FGSM")])
def test_a_gradient_step_under_l2_has_no_sign(plan, threat, label):
    assert list(plan(f"threat={threat}").rows[0].attacks["adaptive"]) == [label, "PGD-2"]


def test_a_recipe_that_nobody_wrote_has_a_step_for_the_norm(plan):
    (recipe,) = {
        job.spec.attack.options["step"] for job in plan().jobs if job.kind == "train" and "pgd_at" in job.label
    }
    assert recipe == "relative"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("threat={norm: l2}",
         "threat: norm l2 needs an eps: the usual one of tradeoff, 0.0313725, is for linf"),
        ("threat={norm: l3, eps: 1}", "threat.norm: must be 'linf' or 'l2', not 'l3'"),
        ("threat={norm: l2, eps: 0}", "threat.eps: 0 is no radius; it must be above 0"),
        ("threat={eps: 3}", "threat.eps: 3 is outside (0, 1], the range of a pixel (was 3/255 meant?)"),
        ("datasets.threat={norm: linf, eps: 3}", "datasets.threat.eps: 3 is outside (0, 1], the range of a pixel"),
        ("train.attack={name: pgd, options: {step: oat}}",
         "train.attack: attack 'pgd': step: 'oat' is a rule for linf, not l2; use 'relative' or a number"),
        ("attacks={name: pgd, options: {step: oat}}",
         "attack 'pgd': step: 'oat' is a rule for linf, not l2; use 'relative' or a number"),
        ("attacks='torchattacks:PGD'",
         "attack 'torchattacks:PGD' knows linf only; these know l2: apgd_ce, apgd_dlr, autoattack_rand, autoatt"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(refusal, override, message):
    text = refusal(override)
    assert message in text
    assert "\n" not in text


def test_a_radius_of_a_dataset_fits_the_norm_of_the_suite(refusal):
    message = "datasets.threat.eps: 3 is outside (0, 1], the range of a pixel (was 3/255 meant?)"
    assert message in refusal("threat={eps: 0.1}", "datasets.threat={eps: 3}")
    assert "threat.eps: 3 is outside (0, 1]" in refusal("threat={norm: l2, eps: 3}", "datasets.threat={norm: linf}")


def test_a_radius_of_training_fits_the_norm(plan, refusal):
    assert plan("train.eps=2").rows
    assert "train.eps: 2 is outside (0, 1], the range of a pixel" in refusal("threat={eps: 0.1}", "train.eps=2")


def test_an_attack_for_l2_says_so_under_linf(refusal):
    text = refusal("threat={eps: 0.1}", "attacks='torchattacks:PGDL2'")
    assert "attack 'torchattacks:PGDL2' knows l2 only; these know linf: apgd_ce" in text


def test_a_suite_under_l2_runs(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE)
    pgd, apgd = "{name: pgd, options: {steps: 3}}", "{name: apgd_ce, options: {iterations: 3}}"
    attacks = f"attacks=[noise, fgsm, {pgd}, {apgd}, 'torchattacks:CW']"
    result = rs.run(path, store=tmp_path / "store", leaderboard=None, device="cpu", overrides=[attacks])
    for row in result.rows:
        assert row.threat == rs.Threat(norm="l2", eps=0.5)
        assert row.ra["PGD-3"].value <= row.ca.value
        assert set(row.ra) == {"Noise", "FGM", "PGD-3", "APGD-CE", "torchattacks:CW", "worst"}
