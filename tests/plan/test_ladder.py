"""The ladder as a plan: which rungs a point has, what their jobs see, and what is refused before any compute."""

from __future__ import annotations

from functools import partial

import pytest

import robuststack as rs
from robuststack import hookimpl
from robuststack.errors import SuiteError
from robuststack.plan.plan import Plan, RowPlan
from robuststack.plan.specs import AttackSpec, JudgeSpec, effective_early_stop, parse_spec
from robuststack.plugin.registry import PluginSource, Registry, installed_sources
from robuststack_plugins.defenses.float import Float

SUITE = """
datasets: {name: tradeoff, options: {images: 60, test_images: 30, size: 8, classes: 4}}
architectures: resnet8
threat: {eps: 0.1}
train: {epochs: 1, batch_size: 50}
defenses: [{name: float, points: {lambda_n: [0, 1]}}, none]
attacks: {name: pgd, options: {steps: 5}}
evaluate: {ladder: true}
"""
RUNGS = ["off", "surrogate", "frozen_known"]


class Unfreezable(Float):
    """FLOAT, as if nothing could keep a draw of its noise."""

    freezable = False


class Silent(Float):
    """FLOAT, as if its noise could not be switched off."""

    def quiet(self, setting: rs.Setting) -> None:
        return None


class Clashing(Float):
    """FLOAT with a protocol that has the name of a rung."""

    def protocols(self, point: rs.Point) -> dict[str, rs.Scoring]:
        return {**super().protocols(point), "off": super().protocols(point)["adaptive"]}


class Plugin:
    @hookimpl
    def register_defense(self, register) -> None:
        for defense in (Unfreezable, Silent, Clashing):
            register(defense.__name__.lower(), f"{__name__}:{defense.__name__}")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry([*installed_sources(), PluginSource("ladder", "here", "1", Plugin)])


@pytest.fixture
def plan(plan):
    """SUITE with overrides, and the defenses above -> Plan."""
    return partial(plan, text=SUITE)


def jobs(plan: Plan, row: RowPlan, protocol: str) -> list[tuple[AttackSpec, JudgeSpec]]:
    """The attack and the judge job of each run."""
    (score,) = row.robust[protocol].values()
    judged = [plan.by_id[job].spec for job in score.jobs.values()]
    return [(plan.by_id[spec.images].spec, spec) for spec in judged]  # type: ignore[union-attr,misc]


def test_only_points_that_draw_noise_have_a_ladder(plan):
    still, noisy, plain = plan().rows
    assert list(noisy.clean) == list(noisy.robust) == ["adaptive", *RUNGS]
    assert list(still.clean) == list(plain.clean) == ["adaptive"]
    assert noisy.facts["inapplicable"] == {}


def test_the_rungs_are_protocols_that_a_suite_can_ask_for_one_by_one(plan):
    single = plan("evaluate={protocols: [surrogate, adaptive]}")
    assert list(single.rows[1].clean) == ["surrogate", "adaptive"]
    whole = plan("evaluate={ladder: true, protocols: [published]}")
    assert list(whole.rows[1].clean) == ["published", "adaptive", *RUNGS]


def test_what_attacker_and_victim_see_on_each_rung(plan):
    made = plan("evaluate.draws=7")
    row = made.rows[1]
    deployed = {"branch": 1, "noise": 1.0}

    ((attack, judge),) = jobs(made, row, "off")
    assert (attack.setting.values, attack.draws_noise, attack.bake) == ({"branch": 1, "noise": 0.0}, False, None)
    assert (judge.setting.values, judge.draws, judge.bake) == (deployed, 7, None)
    assert not attack.early_stop, "its images are judged by another model"

    surrogate = jobs(made, row, "surrogate")
    assert [attack.bake for attack, _ in surrogate] == [0, 1, 2, 3, 4]
    for attack, judge in surrogate:
        assert (attack.setting.values, attack.draws_noise, attack.early_stop) == (deployed, False, False)
        assert (judge.setting.values, judge.draws, judge.bake) == (deployed, 7, None)

    known = jobs(made, row, "frozen_known")
    assert [(attack.bake, judge.bake, judge.draws) for attack, judge in known] == [(bake, bake, 1) for bake in range(5)]
    for attack, judge in known:
        assert attack.setting.values == judge.setting.values == deployed
        assert attack.early_stop, "the very draw that is judged settles an image"


def test_clean_accuracy_is_that_of_what_is_deployed(plan):
    made = plan()
    clean = made.rows[1].clean
    fresh = set(clean["adaptive"].jobs.values())
    assert set(clean["off"].jobs.values()) == set(clean["surrogate"].jobs.values()) == fresh
    baked = [made.by_id[job].spec for job in clean["frozen_known"].jobs.values()]
    assert [(spec.bake, spec.draws) for spec in baked] == [(bake, 1) for bake in range(5)]
    assert not clean["frozen_known"].stochastic
    assert clean["surrogate"].stochastic


def test_each_attack_seed_has_bakes_of_its_own_and_every_training_seed_the_same(plan):
    made = plan("seeds={train: [0, 1], attack: [0, 2]}", "evaluate.bakes=6")
    (score,) = made.rows[1].robust["surrogate"].values()
    bakes = [*range(6), *range(12, 18)]
    assert sorted(score.jobs) == [(train, bake // 6, bake) for train in (0, 1) for bake in bakes]


def test_attacks_of_a_baked_draw_take_one_gradient_a_step(plan):
    made = plan()
    row = made.rows[1]
    draws = {protocol: attacks["PGD-5"]["draws"] for protocol, attacks in row.attacks.items()}
    assert draws == {"adaptive": 20, "off": 1, "surrogate": 1, "frozen_known": 1}
    work = {
        protocol: made.by_id[next(iter(row.images[job] for job in score["PGD-5"].jobs.values()))].work
        for protocol, score in row.robust.items()
    }
    assert work["adaptive"] == 20 * work["surrogate"] == 20 * work["frozen_known"]


def test_a_specification_without_a_bake_does_not_mention_it(plan):
    made = plan()
    known = made.by_id[next(iter(made.rows[1].clean["frozen_known"].jobs.values()))]
    fresh = made.by_id[next(iter(made.rows[1].clean["adaptive"].jobs.values()))]
    assert known.spec.plain()["bake"] == 0
    assert "bake" not in fresh.spec.plain()
    assert known.digest != fresh.digest, "what bakes a draw is a part of it"
    for job in (known, fresh):
        assert parse_spec({"kind": "judge", "spec": job.spec.plain()}) == job.spec


def test_an_image_is_settled_by_the_draw_that_judges_it_only():
    noisy, quiet = rs.Setting({"noise": 1.0}, stochastic=True), rs.Setting({"noise": 0.0})
    assert effective_early_stop(True, noisy, noisy, baked=True)
    assert not effective_early_stop(True, noisy, noisy)
    assert not effective_early_stop(True, quiet, noisy, baked=True)
    assert not effective_early_stop(True, noisy, noisy, baked=True, eight_bit=True)


@pytest.mark.parametrize(
    ("defense", "has", "missing"),
    [
        ("unfreezable", ["off"], dict.fromkeys(["surrogate", "frozen_known"],
         "defense 'unfreezable' draws noise of which no single draw can be kept")),
        ("silent", ["surrogate", "frozen_known"], {"off": "defense 'silent' has no setting with its noise off"}),
    ],
)  # fmt: skip
def test_a_rung_that_does_not_apply_is_left_out_with_its_reason(plan, defense, has, missing):
    made = plan(f"defenses={{name: {defense}, points: {{lambda_n: [0, 1]}}}}")
    still, noisy = made.rows
    assert list(noisy.clean) == ["adaptive", *has]
    assert noisy.facts["inapplicable"] == missing
    assert still.facts["inapplicable"] == {}
    assert made.notes == [f"protocol {rung!r} does not apply: {reason}" for rung, reason in missing.items()]
    single = plan(f"defenses={{name: {defense}, points: {{lambda_n: 1}}}}", "evaluate={protocols: [surrogate]}")
    assert list(single.rows[0].clean) == (["surrogate"] if "surrogate" in has else ["adaptive"])


def test_noise_of_a_users_model_can_be_neither_switched_off_nor_kept(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "network.py").write_text("def make(): ...\n")
    made = plan("defenses={name: none, model: {python: 'network:make', stochastic: true}}")
    (row,) = made.rows
    assert list(row.clean) == ["adaptive"]
    assert row.facts["inapplicable"] == {
        "off": "the user's model draws noise that RobustStack cannot switch off",
        "surrogate": "the user's model draws noise of which RobustStack cannot keep one draw",
        "frozen_known": "the user's model draws noise of which RobustStack cannot keep one draw",
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("defenses=none", "mine.yaml:8:12: a ladder needs a point that draws noise, and every point here is deterministic;"
         " leave it out, or add a randomised defense"),
        ("defenses={name: float, points: {lambda_n: 0}}", "a ladder needs a point that draws noise"),
        ("evaluate={protocols: [adaptive, offf]}", "--set evaluate={protocols: [adaptive, offf]}: no defense here has a"
         " protocol 'offf': did you mean 'off'?"),
        ("evaluate.bakes=4", "--set evaluate.bakes=4: evaluate.bakes: must be greater than or equal to 5, not 4"),
        ("defenses=clashing", "--set defenses=clashing: defense 'clashing' has a protocol 'off', the name of a rung of the"
         " ladder; its author has to rename it"),
    ],
)  # fmt: skip
def test_what_has_no_ladder_is_refused_in_one_line(plan, tmp_path, override, message):
    with pytest.raises(SuiteError) as caught:
        plan(override)
    assert message in str(caught.value).replace(f"{tmp_path}/", "")
    assert "\n" not in str(caught.value)


def test_a_rung_by_name_is_refused_too_where_no_point_draws_noise(plan):
    with pytest.raises(SuiteError, match="protocol 'off' needs a point that draws noise, and every point here is"):
        plan("defenses=none", "evaluate={protocols: [adaptive, off]}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bakes": -1}, "bakes is -1; valid: 0 or more"),
        ({"victim_baked": True}, "victim_baked needs bakes of 1 or more"),
        ({"victim_baked": True, "bakes": 5, "clean": rs.Setting()}, "clean, attacker and victim are one setting"),
        ({"bakes": 5, "attacker": rs.Setting()}, "the attacker's setting draws no noise, so there is nothing to bake"),
    ],
)
def test_a_protocol_that_contradicts_itself_is_refused(change, message):
    noisy = rs.Setting({"noise": 1.0}, stochastic=True)
    with pytest.raises(ValueError, match=message):
        rs.Scoring(**{"clean": noisy, "attacker": noisy, "victim": noisy, **change})


def test_a_model_of_the_program_is_frozen_if_its_layers_say_that_they_can():
    from torch import nn

    from robuststack.suite.live_model import live_defense

    class Keeps(nn.Dropout):
        def freeze(self) -> None:
            """Keep one draw."""

    for layer, freezable in ((nn.Dropout(), False), (Keeps(), True)):
        defense = live_defense(nn.Sequential(nn.Flatten(), layer), [], stochastic=True)
        assert defense.freezable is freezable
