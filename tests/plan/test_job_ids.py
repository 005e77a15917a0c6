"""What the ids and the digests of jobs depend on, and what they do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from planned_suites import CPU, SCORED, SUITE, ids
from robuststack.hardware import Hardware
from robuststack.plan.planner import make_plan
from robuststack.suite.loading import load_suite
from robuststack.suite.recipe import Recipe
from robuststack.suite.suite import Evaluate, Measure
from robuststack_plugins.attacks.pgd import PGD
from robuststack_plugins.datasets.tradeoff import Tradeoff
from robuststack_plugins.defenses.float import Float
from robuststack_plugins.defenses.oat import OnceForAll


def test_ids_depend_on_no_path_and_no_working_directory(tmp_path, monkeypatch, registry):
    plans = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.yaml").write_text(SUITE)
        monkeypatch.chdir(folder)
        plans.append(make_plan(load_suite(f"{name}.yaml"), registry, CPU))
        plans.append(make_plan(load_suite(folder / f"{name}.yaml"), registry, CPU))
    assert len({tuple(job.id for job in made.jobs) for made in plans}) == 1
    assert str(tmp_path) not in json.dumps([job.spec.plain() for job in plans[0].jobs])


def test_ids_are_the_same_in_another_process(plan, tmp_path):
    expected = sorted(ids(plan()))
    code = (
        "import sys; from robuststack.cli import call; call(['plan', sys.argv[1], '--json', '--device', 'cpu',"
        " '--set', 'precision=float32', '--store', sys.argv[2]])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", code, str(tmp_path / "mine.yaml"), str(tmp_path / "store")]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=True)
    assert sorted(job["id"] for job in json.loads(done.stdout)["jobs"]) == expected


@pytest.mark.parametrize(
    "override",
    ["description=other", "name=other", "evaluate.keep_images=false", "attacks.0={name: fgsm, label: other}"],
)
def test_words_and_what_is_kept_change_no_id(plan, override):
    assert ids(plan(override)) == ids(plan())


# Another valid value for every option; a test fails when an option is added and not listed here.
OTHER_RECIPE = {
    "checkpoint": "best", "optimizer": "adamw", "betas": [0.8, 0.99],
    "epochs": 3, "batch_size": 60, "eps": 0.03, "lr": 0.2, "momentum": 0.5, "nesterov": True, "weight_decay": 1e-4,
    "schedule": "constant", "milestones": [1], "gamma": 0.5, "attack": {"name": "fgsm"},
    "average": "ema", "average_decay": 0.9, "average_from": 1,
}  # fmt: skip
OTHER_DATA = {
    "images": 700, "test_images": 300, "size": 12, "classes": 5, "robust_strength": 0.3, "robust_accuracy": 0.9,
    "nonrobust_strength": 0.03, "noise": 0.06, "seed": 1,
}  # fmt: skip
OTHER_FLOAT = {"recipe": "code", "alpha_weight_decay": False, "awp": 0.01}
OTHER_OAT = {"dim": 64, "lambdas": [0, 0.5, 1]}
OTHER_PGD = {"steps": 6, "step": 0.01, "restarts": 2, "draws": 3, "average": "probabilities", "early_stop": False}
OTHER_EVALUATE = {"split": "validation", "limit": 50, "block": 40, "draws": 3}
OTHER_MEASURE = {"latency": False, "batch_size": 16, "repeats": 4, "warmup": 1}


def test_the_tables_of_these_tests_have_every_option():
    assert set(OTHER_RECIPE) == set(Recipe.model_fields) - {"phases"}, "which only defenses with phases have"
    assert set(OTHER_DATA) == set(Tradeoff.Options.model_fields)
    assert set(OTHER_FLOAT) == set(Float.Options.model_fields)
    assert set(OTHER_OAT) == set(OnceForAll.Options.model_fields)
    assert set(OTHER_PGD) == set(PGD.Options.model_fields)
    # These change no result: which rows, protocols, readings and games are made, and what is kept. The limit's rule has
    # a test of its own.
    others = {"points", "protocols", "ladder", "bakes", "keep_images", "limit_rule", "game", "readings"}
    assert set(OTHER_EVALUATE) == set(Evaluate.model_fields) - others
    assert set(OTHER_MEASURE) == set(Measure.model_fields)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((f"train.{key}", value) for key, value in OTHER_RECIPE.items()),
        *((f"datasets.options.{key}", value) for key, value in OTHER_DATA.items()),
        *((f"train.attack.options.{key}", value) for key, value in OTHER_PGD.items()),
        ("architectures", {"name": "resnet8", "options": {"width": 8}}),
        ("architectures", "resnet20"),
        ("threat.eps", 0.2),
        ("seeds.train", 1),
    ],
)
def test_whatever_can_change_a_model_changes_every_id_that_depends_on_it(plan, key, value):
    base = ["train.attack={name: pgd, options: {steps: 7}}"]
    needed = {"betas": "optimizer=adamw", "average_decay": "average=ema", "average_from": "average=swa"}
    name = key.removeprefix("train.")
    if name in needed:
        base.append(f"train.{needed[name]}")
    before, after = plan(*base), plan(*base, f"{key}={json.dumps(value)}")
    assert len(ids(before, "train")) == len(ids(after, "train")) == 2
    assert not ids(before, *SCORED) & ids(after, *SCORED)


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize(("key", "value"), [*OTHER_FLOAT.items(), *OTHER_OAT.items()])
def test_every_option_of_a_defense_changes_its_own_ids_and_no_other(plan, index, key, value):
    name = "float" if key in OTHER_FLOAT else "oat"
    defenses = ["none", "none"]
    defenses[index] = {"name": name}
    defenses[1 - index] = "pgd_at"
    base = f"defenses={json.dumps(defenses)}"
    before, after = plan(base), plan(base, f"defenses.{index}.options.{key}={json.dumps(value)}")
    kept = {job for row in before.rows if f"/{name}" not in row.label for job in row.jobs()}
    assert ids(before) & ids(after) == kept


@pytest.mark.parametrize(("key", "value"), OTHER_PGD.items())
def test_another_option_of_one_attack_leaves_all_models_and_other_attacks_alone(plan, key, value):
    before, after = plan(), plan(f"attacks.1.options.{key}={json.dumps(value)}")
    assert ids(before, "train", "measure") == ids(after, "train", "measure")
    changed = {before.by_id[job].spec.attack.name for job in ids(before, "attack") - ids(after, "attack")}
    assert changed == {"pgd"}
    assert len(ids(before, "attack") & ids(after, "attack")) == 3, "FGSM of three rows"
    assert len(ids(before, "judge") & ids(after, "judge")) == 6, "and its judging, and that of clean images"


@pytest.mark.parametrize(("key", "value"), OTHER_EVALUATE.items())
def test_how_models_are_scored_changes_attack_and_judge_jobs_only(plan, key, value):
    before, after = plan(), plan(f"evaluate.{key}={json.dumps(value)}")
    assert ids(before, "train", "measure") == ids(after, "train", "measure")
    same = {before.by_id[job].spec.setting.stochastic for job in ids(before, "judge") & ids(after, "judge")}
    assert same == ({False} if key == "draws" else set()), "a deterministic point has one draw"
    kept = ids(before, "attack") if key == "draws" else set()
    assert ids(before, "attack") & ids(after, "attack") == kept, "more draws need no other images"


def test_the_rule_of_the_limit_changes_attack_jobs_if_there_is_a_limit(plan):
    first = "evaluate.limit_rule=first"
    assert ids(plan()) == ids(plan(first))
    before, after = plan("evaluate.limit=50"), plan("evaluate.limit=50", first)
    assert ids(before, "train", "measure") == ids(after, "train", "measure")
    assert not ids(before, "attack") & ids(after, "attack")
    facts = [(row.facts["limit"], row.facts["limit_rule"]) for made in (plan(), before, after) for row in made.rows[:1]]
    assert facts == [(None, None), (50, "stratified"), (50, "first")]


@pytest.mark.parametrize(("key", "value"), OTHER_MEASURE.items())
def test_how_models_are_measured_changes_measure_jobs_only(plan, key, value):
    before, after = plan(), plan(f"measure.{key}={json.dumps(value)}")
    assert ids(before) & ids(after) == ids(before, *SCORED)


def test_the_attack_seed_changes_all_but_deterministic_clean_accuracy(plan):
    before, after = plan(), plan("seeds.attack=1")
    same = [before.by_id[job].spec for job in ids(before, "judge") & ids(after, "judge")]
    assert ids(before, "train", "measure") <= ids(after)
    assert not ids(before, "attack") & ids(after, "attack")
    assert {(spec.images, spec.setting.stochastic) for spec in same} == {(None, False)}


@pytest.mark.parametrize("hardware", [Hardware("cuda", "float32"), Hardware("cpu", "bf16")])
def test_device_and_precision_change_every_train_and_attack_id(plan, hardware):
    before, after = plan(), plan(hardware=hardware)
    assert not ids(before, "train", "attack") & ids(after, "train", "attack")
    both = ids(before, "judge") & ids(after, "judge")
    assert not both, "another model, or other images"


def test_the_number_of_the_card_changes_no_id(plan):
    assert ids(plan(hardware=Hardware("cuda:1", "bf16"))) == ids(plan(hardware=Hardware("cuda", "bf16")))


def test_the_revision_of_a_component_changes_its_ids(plan, monkeypatch):
    before = plan()
    monkeypatch.setattr(Float, "revision", 2)
    after = plan()
    kept = {job for row in before.rows if "/float" not in row.label for job in row.jobs()}
    assert ids(before) & ids(after) == kept


def test_the_digest_of_a_job_holds_those_of_its_model_and_of_its_images(plan):
    made = plan()
    for job in made.jobs:
        for need in job.needs:
            assert job.digest.endswith(made.by_id[need].digest)
