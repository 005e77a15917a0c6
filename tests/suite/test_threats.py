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
    (other,) = {
        (row.facts["threat"]["norm"], row.facts["threat"]["eps"])
        for row in plan("threat={norm: l2, eps: 3}", "datasets.threat={norm: linf}").rows
    }
    assert other == ("linf", 8 / 255), "the usual one of the data set: 3 is a radius of l2"


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


NEEDS_RADIUS = "threat: norm l2 needs an eps: the usual one of tradeoff, 0.0313725, is for linf"


@pytest.mark.parametrize("where", ["threat: {eps: 0.1}", "datasets: {name: tradeoff, threat: {eps: 0.1}}"])
def test_a_norm_that_is_changed_takes_no_radius_of_another(tmp_path, where):
    path = tmp_path / "mine.yaml"
    path.write_text(f"datasets: tradeoff\narchitectures: resnet8\nattacks: fgsm\ndefenses: none\n{where}\n".replace(
        "datasets: tradeoff\n", "" if where.startswith("datasets") else "datasets: tradeoff\n"))  # fmt: skip

    def radii(*overrides: str) -> set[tuple[str, float]]:
        rows = make_plan(load_suite(path, overrides), REGISTRY, Hardware("cpu", "float32")).rows
        return {(row.facts["threat"]["norm"], row.facts["threat"]["eps"]) for row in rows}

    with pytest.raises(SuiteError, match=NEEDS_RADIUS):
        radii("threat.norm=l2")
    assert radii("threat.norm=l2", "threat.eps=2") == radii("threat.eps=2", "threat.norm=l2") == {("l2", 2.0)}
    assert radii("threat.norm=linf") == {("linf", 0.1)}


def test_a_data_set_of_another_norm_takes_no_radius_of_the_suite(refusal):
    assert NEEDS_RADIUS in refusal("threat={eps: 0.1}", "datasets.threat={norm: l2}")


def test_a_suite_that_changes_the_norm_of_what_it_extends_names_a_radius(tmp_path):
    (tmp_path / "base.yaml").write_text(SUITE.replace("{norm: l2, eps: 0.5}", "{eps: 0.1}"))
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nthreat: {norm: l2}\n")
    with pytest.raises(SuiteError, match="threat: norm l2 needs an eps"):
        make_plan(load_suite(tmp_path / "mine.yaml"), REGISTRY, Hardware("cpu", "float32"))


def test_a_ball_that_holds_all_images_is_no_threat_model(plan, refusal):
    message = "threat: l2 eps 128: no two images 3 x 32 x 32 are further apart than 55.43 (was 128/255 meant?)"
    assert message in refusal("datasets={name: tradeoff, options: {size: 32}}", "threat={norm: l2, eps: 128}")
    assert plan("threat={norm: l2, eps: 5}").rows


def test_a_step_under_l2_may_be_longer_than_a_pixel(plan, refusal):
    assert plan("threat={norm: l2, eps: 5}", "attacks={name: pgd, options: {step: 1.5}}").rows
    message = "attack 'pgd': step: 1.5 is outside (0, 1], the range of a pixel (was 1.5/255 meant?)"
    assert message in refusal("threat={eps: 0.1}", "attacks={name: pgd, options: {step: 1.5}}")


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
        assert set(row.ra) == {"Noise", "FGM", "PGD-3", "APGD-CE iterations=3", "torchattacks:CW", "worst"}
