"""Images that were attacked only until they fooled their own point are never judged at another."""

from __future__ import annotations

import pytest

import robuststack as rs
from planned_suites import ids
from robuststack import hookimpl
from robuststack.plan.specs import effective_early_stop
from robuststack.plugin.operating_point import Setting
from robuststack.plugin.registry import PluginSource, Registry, installed_sources
from robuststack_plugins.defenses.oat import OnceForAll


class Crossed(OnceForAll):
    """Its protocol `crossed` judges at lambda 0 what was made at lambda 1."""

    def protocols(self, point: rs.Point) -> dict[str, rs.Scoring]:
        deployed, other = self.setting({**point, "lambda": 0.0}), self.setting({**point, "lambda": 1.0})
        return {**super().protocols(point), "crossed": rs.Scoring(clean=deployed, attacker=other, victim=deployed)}


@pytest.fixture(scope="module")
def crossing():
    def register_defense(register):
        register("crossed", f"{__name__}:Crossed")

    plugin = type("Plugin", (), {"register_defense": staticmethod(hookimpl(register_defense))})
    return Registry([*installed_sources(), PluginSource("cross", "cross", "1.0", lambda: plugin)])


def test_an_attack_that_stops_early_is_never_judged_elsewhere(plan, crossing):
    both, defense = "evaluate.protocols=[adaptive, crossed]", "defenses={name: crossed, points: {lambda: [0, 1]}}"
    made = plan(both, defense, registry=crossing)
    crossed = 0
    for job in made.jobs:
        if job.kind == "judge" and job.spec.images:
            attack = made.by_id[job.spec.images].spec
            matched = attack.setting == job.spec.setting
            assert attack.early_stop == (matched and attack.attack.name == "pgd")
            assert attack.model == job.spec.model
            crossed += not matched
    assert crossed == 2, "FGSM and PGD, at both points the same"
    # The headline's attacks are not others for it.
    alone = plan(defense, registry=crossing)
    assert ids(alone, "attack") < ids(made, "attack")
    assert len(ids(made, "attack") - ids(alone, "attack")) == 1, "PGD to the end; FGSM stops nowhere"


def test_a_planted_judge_of_another_point_gets_an_attack_that_goes_to_the_end():
    own, other, noisy = Setting({"width": 1}), Setting({"width": 0.5}), Setting({"width": 1}, stochastic=True)
    assert effective_early_stop(True, own, own)
    assert not effective_early_stop(True, own, other)
    assert not effective_early_stop(True, own, noisy)
    assert not effective_early_stop(True, noisy, noisy)
    assert not effective_early_stop(True, own, own, eight_bit=True)
    assert not effective_early_stop(False, own, own)


def test_an_attack_that_never_stops_is_one_job_for_all_its_judges(plan):
    made = plan(
        "attacks=fgsm", "evaluate.protocols=[adaptive, published]", "defenses={name: float, points: {lambda_n: 0}}"
    )
    assert {made.by_id[job].spec.early_stop for job in ids(made, "attack")} == {False}
