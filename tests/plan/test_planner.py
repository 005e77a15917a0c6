"""Plans: which jobs a suite comes to, what their ids depend on, and what is refused before any compute."""

from __future__ import annotations

import json

import pytest

from planned_suites import SUITE, ids
from robuststack.errors import SuiteError
from robuststack.hardware import Hardware
from robuststack.plan.derived import DerivedJobs
from robuststack.plan.planner import make_plan
from robuststack.plan.specs import JudgeSpec
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite
from robuststack_plugins.datasets.tradeoff import Tradeoff


def test_jobs_come_after_what_they_need_and_timings_last(plan):
    done: set[str] = set()
    for job in plan().jobs:
        assert set(job.needs) <= done
        done.add(job.id)
    kinds = [job.kind for job in plan().jobs]
    assert kinds == sorted(kinds, key=lambda kind: kind == "measure")


@pytest.mark.parametrize(("latency", "stale"), [("true", {"measure"}), ("false", set())])
def test_a_time_that_other_threads_took_is_measured_again(tmp_path, latency, stale):
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE)
    suite = load_suite(path, [f"measure={{latency: {latency}}}"])
    one, four = (make_plan(suite, Registry(), Hardware("cpu", "float32", threads)).by_id for threads in (1, 4))
    assert one.keys() == four.keys(), "what figures are of does not depend on threads"
    assert {job.kind for name, job in one.items() if job.digest != four[name].digest} == stale


def test_every_job_serves_a_row_and_every_row_has_its_jobs(plan):
    made = plan()
    assert set().union(*(row.jobs() for row in made.rows)) == ids(made)


def test_one_model_serves_all_its_operating_points(plan):
    made = plan("defenses={name: float, points: {lambda_n: [0, 0.2, 0.7, 1]}}")
    assert (len(made.rows), len(ids(made, "train"))) == (4, 1)


def test_points_that_come_to_the_same_setting_share_their_jobs(plan):
    made = plan("defenses={name: float, points: {lambda_n: 1, lambda_th: [0, 0.5]}}")
    first, second = made.rows
    assert first.label != second.label
    assert first.jobs() == second.jobs()
    apart = plan("defenses={name: float, points: {lambda_n: 0.7, lambda_th: [0, 0.5]}}")
    assert apart.rows[0].jobs() != apart.rows[1].jobs()


def test_a_point_that_two_grids_name_is_one_row(plan):
    assert len(plan("defenses={name: float, points: [{lambda_n: [0, 1]}, {lambda_n: 1, lambda_th: 0}]}").rows) == 2


def test_every_part_may_be_a_list_and_the_product_is_the_plan(plan):
    made = plan(
        "datasets=[digits, {name: tradeoff, options: {size: 8}, sweep: {seed: [0, 1]}}]",
        "architectures=[resnet8, wrn-10-1]", "threat=[{eps: 0.1}, {eps: 0.2}]", "defenses=[none, pgd_at]",
        "train=[{epochs: 1}, {epochs: 2}]", "seeds=[0, 1]",
    )  # fmt: skip
    assert len(made.rows) == 3 * 2 * 2 * 2 * 2
    assert len(ids(made, "train")) == 2 * len(made.rows)


@pytest.mark.parametrize(
    "recipes",
    [
        [{"weight_decay": 0}, {"weight_decay": 5e-4}],
        [{"epochs": 1, "momentum": 0}, {"epochs": 1}],
        [{"attack": "fgsm"}, {"attack": "pgd"}],
    ],
)
def test_recipes_may_differ_in_any_key(plan, recipes):
    made = plan(f"train={json.dumps(recipes)}", "defenses=pgd_at")
    assert len({row.label for row in made.rows}) == len(ids(made, "train")) == 2


@pytest.mark.parametrize(
    ("recipes", "told"),
    [
        ([{"phases": {"robust": {"lr": 0.1}}}, {"phases": {"robust": {"lr": 0.2}}}], "robust.lr"),
        ([{"phases": {"robust": {"epochs": 1}}}, {"epochs": 1}], "robust.epochs"),
        ([{"phases": {"robust": {"lr": 0.1}}}, {"phases": {"robust": {"lr": 0.1}}, "momentum": 0}], "momentum"),
    ],
)
def test_recipes_that_differ_in_a_phase_are_told_apart(plan, recipes, told):
    made = plan(f"train={json.dumps(recipes)}", "defenses=logit_mix")
    labels = {row.label for row in made.rows}
    assert len(labels) == len(made.rows)
    assert any(f"{told}=" in label for label in labels)


def test_a_defense_twice_with_recipes_of_its_own_is_two_rows(plan):
    made = plan("defenses=[{name: none, train: {epochs: 1}}, {name: none, train: {epochs: 2}}]")
    assert len({row.label for row in made.rows}) == len(ids(made, "train")) == 2


def test_single_datasets_and_defenses_change_the_recipe_and_the_threat(plan):
    made = plan(
        "datasets=[{name: digits, threat: {eps: 0.3}, train: {lr: 0.3}}, {name: tradeoff, options: {size: 8}}]",
        "defenses=[{name: none, train: {lr: 0.5}}, pgd_at]",
    )
    facts = [(row.facts["threat"]["eps"], row.facts["recipe"]["lr"]) for row in made.rows]
    assert facts == [(0.3, 0.5), (0.3, 0.3), (0.1, 0.5), (0.1, 0.1)]


def test_without_a_radius_the_datasets_own_holds(plan):
    made = plan(text=SUITE.replace("threat: {eps: 0.1}", "").replace("classes: 4}}", "classes: 4}}\n"))
    assert {row.facts["threat"]["eps"] for row in made.rows} == {Tradeoff.eps}


def test_a_defense_lacking_a_protocol_is_scored_by_the_headline(plan):
    made = plan("evaluate.protocols=published")
    assert [list(row.clean) for row in made.rows] == [["published"], ["published"], ["adaptive"]]


def test_the_published_protocol_attacks_with_one_draw_a_step_where_its_attacker_is_random(plan):
    protocols = "evaluate.protocols=[adaptive, published]"
    attacks = "attacks=[{name: pgd, options: {steps: 3, draws: 5}}, noise, {name: fgsm, options: {draws: 1}}]"
    made = plan(protocols, attacks, "defenses={name: float, points: {lambda_n: [0, 1]}}")

    def draws(row, protocol, attack):
        (job,) = row.robust[protocol][attack].jobs.values()
        return made.by_id[made.by_id[job].spec.images].spec.attack.options["draws"]

    for row in made.rows:
        assert [draws(row, "adaptive", name) for name in ("PGD-3", "Noise", "FGSM")] == [5, 20, 1]
        assert [draws(row, "published", name) for name in ("PGD-3", "Noise", "FGSM")] == [1, 1, 1]
        assert {name: figures["draws"] for name, figures in row.attacks["published"].items()} == {
            "PGD-3": 1, "Noise": 1, "FGSM": 1,
        }  # fmt: skip
    # Where both protocols come to the same work it is done once.
    noisy = made.rows[1]
    assert noisy.robust["adaptive"]["FGSM"] == noisy.robust["published"]["FGSM"]
    assert noisy.robust["adaptive"]["PGD-3"] != noisy.robust["published"]["PGD-3"]


def test_attacks_that_a_protocol_makes_one_are_refused(plan):
    attacks = "attacks={name: pgd, options: {steps: 3}, sweep: {draws: [1, 20]}}"
    float_ = "defenses={name: float, points: {lambda_n: [0, 1]}}"
    assert len(plan(attacks, float_).rows) == 2
    message = "protocol 'published' sets draws to 1, so 'PGD-3 draws=1' and 'PGD-3 draws=20' are one attack; leave out"
    with pytest.raises(SuiteError, match=message):
        plan(attacks, float_, "evaluate.protocols=[adaptive, published]")


def test_recipes_of_one_defense_are_told_apart_in_rows_and_entries(plan):
    two = "defenses=[{name: float, train: {epochs: 3}}, {name: float, train: {epochs: 5}}, none]"
    rows = [row.facts for row in plan(two).rows]
    assert [row["shown"] for row in rows] == [{"epochs": 3}] * 4 + [{"epochs": 5}] * 4 + [{}]
    assert [row["shown"] for row in (row.facts for row in plan("defenses={name: none, train: {epochs: 3}}").rows)] == [
        {}
    ]


def test_images_that_stand_in_are_told_in_label_and_options(plan):
    (row,) = plan("defenses=none", "datasets={name: cifar10, stand_in: 200}", "threat.eps=0.1").rows
    assert row.label.startswith("cifar10 stand_in=200/resnet8/none")
    assert row.facts["variant"] == ["cifar10 stand_in=200", "resnet8"]
    assert row.facts["dataset_options"]["stand_in"] == 200


def test_the_split_is_a_fact_of_a_row(plan):
    assert {row.facts["split"] for row in plan().rows} == {"test"}
    assert {row.facts["split"] for row in plan("evaluate.split=validation").rows} == {"validation"}


def test_a_sweep_that_labels_do_not_show_is_added_to_them(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(
        "datasets: digits\narchitectures: resnet8\ndefenses: none\nattacks: {name: pgd, sweep: {draws: [1, 5]}}"
    )
    plan = make_plan(load_suite(path), Registry(), Hardware("cpu", "float32"))
    assert list(plan.attacks) == ["PGD-20 draws=1", "PGD-20 draws=5"]


def test_one_model_serves_several_radii_when_the_training_radius_is_said(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(
        "datasets: digits\narchitectures: resnet8\ndefenses: pgd_at\nattacks: fgsm\n"
        "threat: [{eps: 0.1}, {eps: 0.2}]\ntrain: {eps: 0.1}"
    )
    plan = make_plan(load_suite(path), Registry(), Hardware("cpu", "float32"))
    assert len(plan.rows) == 2
    assert len([job for job in plan.jobs if job.kind == "train"]) == 1


def test_work_counts_the_forward_passes_of_an_answer(plan, registry):
    """In a suite and in what an audit derives from it."""
    changes = ["attacks={name: pgd, options: {steps: 5, draws: auto}}", "evaluate.game={}"]
    single, mean = (plan(*changes, f"defenses={{name: rse, points: {{ensemble: [{draws}, 20]}}}}") for draws in (1, 10))
    work = [
        {kind: [job.work for job in made.jobs if job.kind == kind] for kind in ("train", "draws", "attack", "game")}
        for made in (single, mean)
    ]
    assert work[0]["train"] == work[1]["train"]
    assert work[0]["game"] == work[1]["game"], "a guess by the setting that costs most"
    assert [mean / single for single, mean in zip(work[0]["draws"], work[1]["draws"], strict=True)] == [10, 1]
    for made in (single, mean):
        derived = DerivedJobs(made, registry)
        for job in made.jobs:
            if isinstance(job.spec, JudgeSpec):
                again = derived.judge(job.spec.model_copy(update={"stream": "rejudge"}), "again")
                assert again.work == job.work
