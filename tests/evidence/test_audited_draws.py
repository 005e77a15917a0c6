"""How many noise draws the attacks of an audit average over, and the plain network that it trains for transfer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from knobbed import EPS, knobbed_registry

import robuststack as rs
from robuststack.evidence.checks.eot import Eot
from robuststack.evidence.checks.eps import Eps
from robuststack.evidence.checks.order import Order
from robuststack.evidence.checks.pairs import PairCheck
from robuststack.evidence.checks.steps import Steps
from robuststack.evidence.checks.stronger import Stronger
from robuststack.hardware import Hardware
from robuststack.plan.audit import Subject, subjects
from robuststack.plan.derived import DerivedJobs
from robuststack.plan.planner import make_plan
from robuststack.plan.specs import AttackSpec, parse_spec
from robuststack.running.store import Store
from robuststack.suite.loading import suite_from
from robuststack.suite.suite import Suite

SUITE = {
    "datasets": {"name": "bright"},
    "threat": {"eps": EPS},
    "evaluate": {"block": 24, "draws": 4},
    "measure": {"latency": False},
    "precision": "float32",
}
CPU = Hardware("cpu", "float32")


def noisy(*attacks: object, noise: float = 1.0) -> Suite:
    defense = {"name": "knobbed", "options": {"noise": noise}, "points": {"pixel": [0]}}
    return suite_from({**SUITE, "defenses": [defense], "attacks": list(attacks)})


def pgd(draws: int | str) -> dict[str, object]:
    return {"name": "pgd", "options": {"steps": 2, "draws": draws}}


def fgsm(draws: int | str) -> dict[str, object]:
    return {"name": "fgsm", "options": {"draws": draws}}


def subject_of(suite: Suite) -> Subject:
    plan = make_plan(suite, knobbed_registry(), CPU)
    ((subject,),) = subjects(plan, DerivedJobs(plan, knobbed_registry()), plan.rows).values()
    return subject


def brought(subject: Subject, check: PairCheck) -> dict[str, AttackSpec]:
    """The attacks on the row's images, by name."""
    judged = [job for pair in check.pairs(subject) for job in pair.jobs]
    made = [subject.jobs.jobs[job.spec.images].spec for job in judged]
    return {spec.attack.name: spec for spec in made if spec.selection == subject.images}


@pytest.mark.parametrize(("draws", "stronger"), [(40, 40), (8, 20)])
def test_a_stronger_attack_averages_over_no_fewer_draws_than_the_rows_own(draws, stronger):
    subject = subject_of(noisy(pgd(draws)))
    assert brought(subject, Stronger())["apgd_ce"].attack.options["draws"] == stronger
    assert brought(subject, Order())["fgsm"].attack.options["draws"] == draws
    assert brought(subject, Eps())["pgd"].attack.options["draws"] == draws


@pytest.mark.parametrize(
    ("attacks", "draws"), [([pgd(8), fgsm(50)], 50), ([pgd(40), fgsm(30)], 40), ([pgd(8), fgsm("auto")], "auto")]
)
def test_a_stronger_attack_averages_over_as_many_draws_as_any_of_the_row(attacks, draws):
    subject = subject_of(noisy(*attacks))
    spec = brought(subject, Stronger())["apgd_ce"]
    assert spec.attack.options["draws"] == draws
    fgsm_draws = subject.own_attack(list(subject.attacks)[1]).draws_from
    assert spec.draws_from == fgsm_draws
    assert (spec.draws_from is not None) == (draws == "auto")


def test_four_times_the_draws_that_a_run_chooses_are_four_times_as_many():
    subject = subject_of(noisy(pgd("auto")))
    ((pair,),) = [Eot().pairs(subject)]
    (more,) = [subject.jobs.jobs[job.spec.images] for job in pair.after if job not in pair.before]
    assert pair.name == "PGD-2 with 4 times the chosen draws"
    assert (more.spec.draws_times, more.spec.draws_from) == (4, subject.own_attack("PGD-2").draws_from)
    assert more.work == pytest.approx(4 * subject.jobs.jobs[subject.crafted(subject.attacks["PGD-2"]).spec.images].work)


def test_without_a_choice_a_specification_does_not_mention_it():
    subject = subject_of(noisy(pgd(8)))
    assert not {"draws_from", "draws_times"} & subject.own_attack("PGD-2").plain().keys()


@pytest.mark.parametrize(
    ("check", "name"), [(Stronger(), "apgd_ce"), (Order(), "fgsm"), (Eps(), "pgd"), (Steps(), "pgd")]
)
def test_draws_that_a_run_chooses_are_those_of_the_row(check, name):
    subject = subject_of(noisy(pgd("auto")))
    (label,) = subject.attacks
    spec = brought(subject, check)[name]
    assert spec.attack.options["draws"] == "auto"
    assert spec.draws_from == subject.own_attack(label).draws_from is not None


def test_a_deterministic_point_has_no_draws_to_choose():
    subject = subject_of(noisy(pgd("auto"), noise=0.0))
    spec = brought(subject, Stronger())["apgd_ce"]
    assert (spec.attack.options["draws"], spec.draws_from) == (20, None)


def test_an_audit_runs_on_the_draws_that_were_chosen(tmp_path):
    result = rs.audit(
        noisy(pgd("auto")), checks=["EOT", "STEPS", "ORDER", "GRAD", "BINARY"], store=tmp_path, leaderboard=None,
        device="cpu", registry=knobbed_registry(),
    )  # fmt: skip
    assert not result.failed
    store = Store(tmp_path)
    (probe,) = store.finished("draws")
    attacks = list(store.finished("attack"))
    used = {
        parse_spec(attack).attack.name
        for attack in attacks
        if attack.get("draws_from") == {probe["id"]: probe["draws"]}
    }
    assert used == {"pgd", "fgsm"}
    assert all(probe["draws"] in looked["draws_from"].values() for looked in store.finished("probe"))
    calls = {
        (spec.attack.options["restarts"], spec.draws_times): attack["checks"]["calls"]
        for attack in attacks
        if (spec := parse_spec(attack)).attack.name == "pgd"
    }
    assert calls[1, 4] == 4 * calls[1, None]


@pytest.mark.parametrize(
    ("ensembles", "reason"),
    [
        (["autoattack_rand"], "the row has"),
        ([{"name": "autoattack_rand", "options": {"draws": 8}}], ""),
        ([pgd(40), "autoattack_rand"], ""),
    ],
)
def test_an_autoattack_of_fewer_draws_does_not_stand_for_the_stronger_one(ensembles, reason):
    subject = subject_of(three_classes(ensembles))
    assert Stronger().inapplicable(subject).startswith(reason)
    assert bool(Stronger().inapplicable(subject)) == bool(reason)


def three_classes(attacks: Sequence[object]) -> Suite:
    """A randomised point of a trained model with as many classes as the ensemble needs."""
    tradeoff = {"name": "tradeoff", "options": {"images": 60, "test_images": 24, "size": 8, "classes": 4}}
    defense = {"name": "float", "points": {"lambda_n": [1], "lambda_th": [0]}}
    return suite_from({
        **SUITE, "datasets": tradeoff, "architectures": "resnet8", "train": {"batch_size": 20}, "defenses": [defense],
        "attacks": list(attacks),
    })  # fmt: skip


@pytest.mark.parametrize(
    "evaluate", [{}, {"ladder": True}, {"protocols": ["adaptive", "published"]}, {"protocols": ["published"]}]
)
def test_a_plain_network_is_planned_for_transfer_whatever_else_the_suite_asks(evaluate):
    suite = three_classes([pgd(2)])
    subject = subject_of(suite.model_copy(update={"evaluate": suite.evaluate.model_copy(update=evaluate)}))
    assert subject.undefended is not None
    assert subject.undefended.facts["undefended"]


def test_a_game_does_not_keep_a_plain_network_from_being_planned():
    suite = three_classes([pgd(2)])
    defense = suite.defenses[0].model_copy(update={"points": [{"lambda_n": [0, 1], "lambda_th": [0]}]})
    evaluate = type(suite.evaluate)(game=True)
    plan = make_plan(suite.model_copy(update={"defenses": [defense], "evaluate": evaluate}), knobbed_registry(), CPU)
    assert plan.games
    by_row = subjects(plan, DerivedJobs(plan, knobbed_registry()), plan.rows)
    assert all(subject.undefended is not None for (subject,) in by_row.values())
