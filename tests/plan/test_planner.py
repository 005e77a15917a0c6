"""Plans: which jobs a suite comes to, what their ids depend on, and what is refused before any compute."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import robuststack as rs
from robuststack import hookimpl
from robuststack.errors import RobustStackError, StoreError, SuiteError
from robuststack.hardware import Hardware
from robuststack.leaderboard.audit import board_files
from robuststack.leaderboard.board import board_json
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.board_maker import make_board
from robuststack.leaderboard.row import RowJobs
from robuststack.plan.job_id import job_id
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plan.specs import effective_early_stop, parse_spec
from robuststack.plugin.operating_point import Setting
from robuststack.plugin.registry import PluginSource, Registry, installed_sources
from robuststack.suite.loading import load_suite
from robuststack.suite.recipe import Recipe
from robuststack.suite.suite import Evaluate, Measure
from robuststack_plugins.attacks.pgd import PGD
from robuststack_plugins.datasets.tradeoff import Tradeoff
from robuststack_plugins.defenses.float import Float
from robuststack_plugins.defenses.oat import OnceForAll

ROOT = Path(__file__).parents[2]
CPU = Hardware("cpu", "float32")
SCORED = ("train", "attack", "judge")
SUITE = """
datasets: {name: tradeoff, options: {images: 600, test_images: 200, size: 8, classes: 4}}
architectures: resnet8
threat: {eps: 0.1}
train: {epochs: 2, batch_size: 50}
defenses:
- name: float
  points: {lambda_n: [0, 1]}
- none
attacks: [fgsm, {name: pgd, options: {steps: 5}}]
"""


@pytest.fixture(scope="module")
def registry():
    return Registry()


@pytest.fixture
def plan(tmp_path, registry):
    """SUITE, or another text, with overrides -> Plan."""

    def make(*overrides: str, text: str = SUITE, hardware: Hardware = CPU, registry: Registry = registry) -> Plan:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return make_plan(load_suite(path, overrides), registry, hardware)

    return make


@pytest.fixture
def error(plan, tmp_path):
    """The message about a suite, without its folder."""

    def make(*overrides: str, text: str = SUITE) -> str:
        with pytest.raises(SuiteError) as caught:
            plan(*overrides, text=text)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return make


def ids(plan: Plan, *kinds: str) -> set[str]:
    return {job.id for job in plan.jobs if not kinds or job.kind in kinds}


# --- what ids depend on


def test_ids_depend_on_no_path_and_no_working_directory(tmp_path, monkeypatch, registry):
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.yaml").write_text(SUITE)
        monkeypatch.chdir(folder)
        found.append(make_plan(load_suite(f"{name}.yaml"), registry, CPU))
        found.append(make_plan(load_suite(folder / f"{name}.yaml"), registry, CPU))
    assert len({tuple(job.id for job in one.jobs) for one in found}) == 1
    assert str(tmp_path) not in json.dumps([job.spec.plain() for job in found[0].jobs])


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
}  # fmt: skip
OTHER_DATA = {
    "images": 700, "test_images": 300, "size": 12, "classes": 5, "robust_strength": 0.3, "robust_accuracy": 0.9,
    "nonrobust_strength": 0.03, "noise": 0.06, "seed": 1,
}  # fmt: skip
OTHER_FLOAT = {"recipe": "code", "alpha_weight_decay": False}
OTHER_OAT = {"dim": 64, "lambdas": [0, 0.5, 1]}
OTHER_PGD = {"steps": 6, "step": 0.01, "restarts": 2, "draws": 3, "average": "probabilities", "early_stop": False}
OTHER_EVALUATE = {"split": "validation", "limit": 50, "block": 40, "draws": 3}
OTHER_MEASURE = {"latency": False, "batch_size": 16, "repeats": 4, "warmup": 1}


def test_the_tables_of_these_tests_have_every_option():
    assert set(OTHER_RECIPE) == set(Recipe.model_fields)
    assert set(OTHER_DATA) == set(Tradeoff.Options.model_fields)
    assert set(OTHER_FLOAT) == set(Float.Options.model_fields)
    assert set(OTHER_OAT) == set(OnceForAll.Options.model_fields)
    assert set(OTHER_PGD) == set(PGD.Options.model_fields)
    # These change no result: which rows, protocols and games are made, and what is kept. The limit's rule has its own test.
    others = {"points", "protocols", "ladder", "bakes", "keep_images", "limit_rule", "game"}
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
    if key == "train.betas":
        base.append("train.optimizer=adamw")
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
    facts = [(row.facts["limit"], row.facts["limit_rule"]) for some in (plan(), before, after) for row in some.rows[:1]]
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


# --- specifications


def test_a_specification_is_the_same_record_when_it_is_read_back(plan):
    for job in plan("evaluate.protocols=[adaptive, published]", "train.eps=8/255", "threat.eps=0.1").jobs:
        stored = json.loads(json.dumps({"id": job.id, "kind": job.kind, "spec": job.spec.plain()}))
        spec = parse_spec(stored)
        assert type(spec) is type(job.spec)
        assert spec.plain() == job.spec.plain()
        assert job_id(spec.kind, spec) == job.id


@pytest.mark.parametrize("broken", [{"kind": "guess"}, {"spec": {"model": "x"}}, {"spec": None}])
def test_a_specification_that_is_none_is_one_line(plan, broken):
    job = plan().jobs[0]
    with pytest.raises(StoreError, match=f"job {job.id} has a specification that this version cannot read"):
        parse_spec({"id": job.id, "kind": job.kind, "spec": job.spec.plain(), **broken})


# --- images that were attacked only until they fooled their own point


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


# --- which jobs


def test_jobs_come_after_what_they_need_and_timings_last(plan):
    done: set[str] = set()
    for job in plan().jobs:
        assert set(job.needs) <= done
        done.add(job.id)
    kinds = [job.kind for job in plan().jobs]
    assert kinds == sorted(kinds, key=lambda kind: kind == "measure")


def test_every_job_serves_a_row_and_every_row_has_its_jobs(plan):
    one = plan()
    assert set().union(*(row.jobs() for row in one.rows)) == ids(one)


def test_one_model_serves_all_its_operating_points(plan):
    one = plan("defenses={name: float, points: {lambda_n: [0, 0.2, 0.7, 1]}}")
    assert (len(one.rows), len(ids(one, "train"))) == (4, 1)


def test_points_that_come_to_the_same_setting_share_their_jobs(plan):
    one = plan("defenses={name: float, points: {lambda_n: 1, lambda_th: [0, 0.5]}}")
    first, second = one.rows
    assert first.label != second.label
    assert first.jobs() == second.jobs()
    apart = plan("defenses={name: float, points: {lambda_n: 0.7, lambda_th: [0, 0.5]}}")
    assert apart.rows[0].jobs() != apart.rows[1].jobs()


def test_a_point_that_two_grids_name_is_one_row(plan):
    assert len(plan("defenses={name: float, points: [{lambda_n: [0, 1]}, {lambda_n: 1, lambda_th: 0}]}").rows) == 2


def test_every_part_may_be_a_list_and_the_product_is_the_plan(plan):
    one = plan(
        "datasets=[digits, {name: tradeoff, options: {size: 8}, sweep: {seed: [0, 1]}}]",
        "architectures=[resnet8, wrn-10-1]", "threat=[{eps: 0.1}, {eps: 0.2}]", "defenses=[none, pgd_at]",
        "train=[{epochs: 1}, {epochs: 2}]", "seeds=[0, 1]",
    )  # fmt: skip
    assert len(one.rows) == 3 * 2 * 2 * 2 * 2
    assert len(ids(one, "train")) == 2 * len(one.rows)


@pytest.mark.parametrize(
    "recipes",
    [
        [{"weight_decay": 0}, {"weight_decay": 5e-4}],
        [{"epochs": 1, "momentum": 0}, {"epochs": 1}],
        [{"attack": "fgsm"}, {"attack": "pgd"}],
    ],
)
def test_recipes_may_differ_in_any_key(plan, recipes):
    one = plan(f"train={json.dumps(recipes)}", "defenses=pgd_at")
    assert len({row.label for row in one.rows}) == len(ids(one, "train")) == 2


def test_a_defense_twice_with_recipes_of_its_own_is_two_rows(plan):
    one = plan("defenses=[{name: none, train: {epochs: 1}}, {name: none, train: {epochs: 2}}]")
    assert len({row.label for row in one.rows}) == len(ids(one, "train")) == 2


def test_single_datasets_and_defenses_change_the_recipe_and_the_threat(plan):
    one = plan(
        "datasets=[{name: digits, threat: {eps: 0.3}, train: {lr: 0.3}}, {name: tradeoff, options: {size: 8}}]",
        "defenses=[{name: none, train: {lr: 0.5}}, pgd_at]",
    )
    found = [(row.facts["threat"]["eps"], row.facts["recipe"]["lr"]) for row in one.rows]
    assert found == [(0.3, 0.5), (0.3, 0.3), (0.1, 0.5), (0.1, 0.1)]


def test_without_a_radius_the_datasets_own_holds(plan):
    one = plan(text=SUITE.replace("threat: {eps: 0.1}", "").replace("classes: 4}}", "classes: 4}}\n"))
    assert {row.facts["threat"]["eps"] for row in one.rows} == {Tradeoff.eps}


def test_a_defense_lacking_a_protocol_is_scored_by_the_headline(plan):
    one = plan("evaluate.protocols=published")
    assert [list(row.clean) for row in one.rows] == [["published"], ["published"], ["adaptive"]]


def test_the_published_protocol_attacks_with_one_draw_a_step_where_its_attacker_is_random(plan):
    protocols = "evaluate.protocols=[adaptive, published]"
    attacks = "attacks=[{name: pgd, options: {steps: 3, draws: 5}}, noise, {name: fgsm, options: {draws: 1}}]"
    one = plan(protocols, attacks, "defenses={name: float, points: {lambda_n: [0, 1]}}")

    def draws(row, protocol, attack):
        (job,) = row.robust[protocol][attack].jobs.values()
        return one.by_id[one.by_id[job].spec.images].spec.attack.options["draws"]

    for row in one.rows:
        assert [draws(row, "adaptive", name) for name in ("PGD-3", "Noise", "FGSM")] == [5, 20, 1]
        assert [draws(row, "published", name) for name in ("PGD-3", "Noise", "FGSM")] == [1, 1, 1]
        assert {name: figures["draws"] for name, figures in row.attacks["published"].items()} == {
            "PGD-3": 1, "Noise": 1, "FGSM": 1,
        }  # fmt: skip
    # Where both protocols come to the same work it is done once.
    noisy = one.rows[1]
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


# --- only


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("float", 2),
        ("none", 1),
        ("lambda_n=1", 1),
        ("tradeoff", 3),
        ("resnet8/float", 2),
        ("*lambda_n=0 *", 1),
        ("*", 3),
    ],
)
def test_only_keeps_the_rows_that_match_and_the_jobs_they_need(plan, pattern, count):
    whole = plan()
    part = whole.only(pattern)
    assert len(part.rows) == count
    assert ids(part) == set().union(*(row.jobs() for row in part.rows))
    assert part.complete is (count == len(whole.rows))


def test_only_matches_from_the_beginning_of_a_word(plan):
    one = plan("defenses=[float, oat]").only("oat")
    assert {row.facts["defense"] for row in one.rows} == {"oat"}


def test_a_whole_label_is_that_row_alone(plan):
    whole = plan("defenses={name: pgd_at, sweep: {lambda: [0, 0.2]}}")
    shorter, longer = (row.label for row in whole.rows)
    assert longer.startswith(shorter)
    assert [row.label for row in whole.only(shorter).rows] == [shorter]


def test_only_without_a_match_shows_how_rows_are_named(plan):
    with pytest.raises(
        RobustStackError, match=r"^--only zzz: no row matches; rows are named like 'tradeoff/resnet8/float"
    ):
        plan().only("zzz")


# --- what is refused


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("datasets=digit", "unknown dataset 'digit': did you mean 'digits'?"),
        ("architectures=resnet88", "unknown architecture 'resnet88': did you mean 'resnet8'"),
        ("architectures=wrn-15-1", "architecture 'wrn-15-1': depth: 15 is not 6n + 4"),
        ("defenses=flot", "unknown defense 'flot': did you mean 'float'"),
        ("attacks=pdg", "unknown attack 'pdg': did you mean 'pgd'?"),
        ("train.attack=pdg", "train.attack: unknown attack 'pdg': did you mean 'pgd'?"),
        ("train.attack={name: pgd, options: {step: fast}}", "train.attack: attack 'pgd': step: must be 'relative' or"),
        ("train.attack={name: pgd, sweep: {steps: [1]}}", "the training attack has no sweep; list recipes under train"),
        ("attacks={name: pgd, options: {stps: 3}}", "attack 'pgd': unknown key 'stps': did you mean 'steps' or 'step'?"),
        ("attacks={name: pgd, sweep: {steps: [0]}}", "attack 'pgd': steps: must be greater than or equal to 1, not 0"),
        ("attacks={name: pgd, options: {steps: 1}, sweep: {steps: [2]}}", "option 'steps' is both in options and in sweep"),
        ("attacks=[pgd, pgd]", "two attacks are labelled 'PGD-20'; give one of them another `label:`"),
        ("datasets={name: tradeoff, options: {size: 9}}", "dataset 'tradeoff': size: must be a multiple of 4, not 9"),
        ("defenses={name: float, points: {lambda_n: 1.5}}", "points of float: lambda_n: must be less than or equal to 1"),
        ("defenses={name: float, points: {lambda_th: 1}}", "points of float: lambda_th: must be less than 1, not 1"),
        ("defenses={name: float, points: {lamda_n: 1}}", "points of float: unknown key 'lamda_n': did you mean 'lambda_n'"),
        ("defenses={name: none, points: {lambda: 1}}", "points of none: unknown key 'lambda': there are none"),
        ("defenses={name: oat, points: {lambda: 0.3}}", "points of oat: lambda 0.3 has no row in the codebook; trained:"
         " 0, 0.2, 0.7, 1 (dim: 1 takes any lambda)"),
        ("train.batch_size=601", "batch_size 601 is more than the 600 training images of tradeoff"),
        ("evaluate.protocols=publishd", "no defense here has a protocol 'publishd': did you mean 'published'?"),
        ("defenses=[none, none]", "two rows would be the same: tradeoff/resnet8/none"),
    ],
)  # fmt: skip
def test_what_could_not_run_is_refused_with_the_place_and_what_would_be_valid(error, override, message):
    found = error(override)
    assert message in found
    if "two rows" not in message:
        assert found.startswith(f"--set {override}: ")


def test_a_codebook_of_one_column_takes_any_lambda(plan):
    one = plan("defenses={name: oat, options: {dim: 1}, points: {lambda: 0.3}}")
    assert [row.facts["point"] for row in one.rows] == [{"lambda": 0.3}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets:\n- digits\n- digit\n", "mine.yaml:3:3: unknown dataset 'digit'"),
        ("defenses:\n- name: float\n  points:\n  - {lambda_n: 0}\n  - {lambda_n: 0, lambda_th: 2}\n",
         "mine.yaml:5:19: points of float: lambda_th"),
        ("defenses:\n- name: float\n  options:\n    recipe: papers\n", "mine.yaml:4:5: defense 'float': recipe: must be"),
        ("defenses:\n- name: oat\n  sweep:\n    dim: [4, x]\n", "mine.yaml:4:5: defense 'oat': dim: must be"),
        ("train:\n  epochs: 1\n  batch_size: 9999\n", "mine.yaml:3:3: batch_size 9999"),
        ("train:\n- epochs: 1\n- epochs: 2\n  batch_size: 9999\n", "mine.yaml:4:3: batch_size 9999"),
        ("train: {lr: 1.0}\ndatasets:\n- name: digits\n  train:\n    batch_size: 9999\n", "mine.yaml:5:5: batch_size"),
        ("train: {epochs: 1}\ndefenses:\n- name: none\n  train: {batch_size: 9999}\n", "mine.yaml:4:11: batch_size 9999"),
        ("train: {epochs: 1}\ndefenses:\n- name: none\n  train:\n    attack: pdg\n", "mine.yaml:5:5: train.attack: "),
        ("train:\n- epochs: 1\n- attack: pdg\n", "mine.yaml:3:3: train.attack: unknown attack"),
    ],
)  # fmt: skip
def test_an_error_points_at_the_line_that_caused_it(error, text, message):
    rest = {"datasets": "digits", "architectures": "resnet8", "defenses": "none", "attacks": "fgsm"}
    text += "".join(f"{key}: {value}\n" for key, value in rest.items() if f"{key}:" not in text)
    assert error(text=text).startswith(message)


# --- components that only these tests know


class Foreign(rs.Defense):
    """A finished model of others."""

    trains = False

    class Options(rs.Options):
        weights: str = rs.option("theirs", "Which.")


class Guess(rs.Attack):
    """An attack without gradients, and one that wants many classes."""

    min_classes = 5
    needs_gradients = False


class Strange(rs.Defense):
    """A defense that changes the recipe."""

    def recipe(self):
        return {"lr": 0.7, "momentum": 0.3}


@pytest.fixture(scope="module")
def wider():
    def register_defense(register):
        register("foreign", f"{__name__}:Foreign")
        register("strange", f"{__name__}:Strange")

    def register_attack(register):
        register("guess", f"{__name__}:Guess")

    plugin = type("Plugin", (), {
        "register_defense": staticmethod(hookimpl(register_defense)),
        "register_attack": staticmethod(hookimpl(register_attack)),
    })  # fmt: skip
    return Registry([*installed_sources(), PluginSource("fake", "fakes", "1.0", lambda: plugin)])


def test_a_foreign_model_is_attacked_and_never_trained(plan, wider):
    one = plan("defenses=foreign", registry=wider)
    assert {job.kind for job in one.jobs} == {"attack", "judge", "measure"}
    assert all(job.needs == () for job in one.jobs if job.kind != "judge")
    assert one.rows[0].train == {}
    assert one.rows[0].facts["recipe"] is None
    assert {job.spec.foreign.defense.name for job in one.jobs if job.kind == "attack"} == {"foreign"}


def test_a_foreign_models_options_are_in_its_ids_and_the_recipe_is_not(plan, wider):
    before = plan("defenses=foreign", registry=wider)
    other = plan("defenses={name: foreign, options: {weights: ours}}", registry=wider)
    assert not ids(before) & ids(other)
    assert ids(plan("defenses=foreign", "train.epochs=9", "train.batch_size=9999", registry=wider)) == ids(before)


def test_an_attack_without_gradients_cannot_train(plan, wider):
    with pytest.raises(
        SuiteError, match=r"train\.attack: 'guess' is no gradient attack, so it cannot train; use pgd or fgsm$"
    ):
        plan("train.attack=guess", registry=wider)


def test_an_attack_that_wants_more_classes_is_refused(plan, wider):
    with pytest.raises(SuiteError, match=r"attack 'guess' needs at least 5 classes, tradeoff has 4$"):
        plan("attacks=guess", registry=wider)
    assert plan("attacks=guess", "datasets.options.classes=5", registry=wider).rows


def test_a_defense_changes_defaults_of_the_recipe_and_the_suite_wins(plan, wider):
    one = plan("defenses=strange", "train.lr=0.2", registry=wider)
    recipe = one.rows[0].facts["recipe"]
    assert (recipe["lr"], recipe["momentum"]) == (0.2, 0.3)


OPTIMISERS = """
datasets: {name: digits, train: {lr: 0.5}}
architectures: resnet8
train: {SUITE}
defenses: {name: none, train: {OWN}}
attacks: fgsm
"""


@pytest.mark.parametrize(
    ("suite", "own", "message"),
    [
        ("optimizer: adamw, momentum: 0.5", "", "4:27: momentum is a key of optimizer sgd, and this recipe has adamw"),
        ("betas: [0.8, 0.9]", "", "4:9: betas is a key of optimizer adamw, and this recipe has sgd"),
        ("optimizer: adamw", "nesterov: true", "5:32: nesterov is a key of optimizer sgd, and this recipe has adamw"),
        ("momentum: 0.5", "optimizer: adamw", "4:9: momentum is a key of optimizer sgd, and this recipe has adamw"),
    ],
)
def test_a_key_of_another_optimiser_is_refused_at_its_place(error, suite, own, message):
    text = OPTIMISERS.replace("SUITE", suite).replace("OWN", own)
    valid = "momentum, nesterov" if "has sgd" in message else "betas"
    assert error(text=text) == f"mine.yaml:{message}; it knows {valid}, lr, weight_decay"


def test_each_optimiser_has_its_defaults_and_only_its_keys(plan):
    sgd = plan("defenses=none").rows[0].facts["recipe"]
    adamw = plan("defenses=none", "train.optimizer=adamw").rows[0].facts["recipe"]
    assert (sgd["lr"], sgd["weight_decay"], sgd["momentum"], sgd["nesterov"]) == (0.1, 5e-4, 0.9, False)
    assert (adamw["lr"], adamw["weight_decay"], adamw["betas"]) == (1e-3, 1e-2, [0.9, 0.999])
    assert "betas" not in sgd
    assert not {"momentum", "nesterov"} & set(adamw)
    given = plan("defenses=none", "train={optimizer: adamw, lr: 0.1, weight_decay: 0}").rows[0].facts["recipe"]
    assert (given["lr"], given["weight_decay"]) == (0.1, 0)
    strongest = plan("train={lr: 0.05}", "defenses={name: none, train: {optimizer: adamw}}").rows[0].facts["recipe"]
    assert strongest["lr"] == 0.05, "what the suite wrote stands, whatever the optimiser"


def test_a_defenses_own_recipe_goes_with_the_optimiser_that_it_is_for(plan):
    """PNI's are Nesterov's momentum and a weight decay for SGD."""
    pni = plan("defenses=pni").rows[0].facts["recipe"]
    assert (pni["nesterov"], pni["weight_decay"]) == (True, 3e-4)
    adamw = plan("defenses=pni", "train.optimizer=adamw").rows[0].facts["recipe"]
    assert (adamw["weight_decay"], adamw["lr"]) == (1e-2, 1e-3)


def test_keys_that_do_not_fit_together_are_refused_at_their_place(plan):
    with pytest.raises(SuiteError, match=r"the recipe of defense 'none': nesterov needs a momentum above 0$"):
        plan("train={nesterov: true}", "defenses={name: none, train: {momentum: 0}}")


# --- committed leaderboards


def stale_rows(path: Path, registry: Registry) -> list[str]:
    """The rows of a leaderboard whose job ids are not those of its suite file, and the suite's rows it lacks."""
    board = read_board(path)
    suite = load_suite(path.parent / board.suite_file, board.overrides)
    plan = make_plan(suite, registry, Hardware(board.device, board.precision))
    expected = {row.label: row.jobs() for row in plan.rows}
    found = {
        row.label: {*row.jobs.train.values(), row.jobs.measure, *row.jobs.attacks.values(), *row.jobs.scored()}
        for row in board.rows
    }
    wrong = [label for label, jobs in found.items() if expected.get(label) != jobs]
    return wrong + (sorted(set(expected) - set(found)) if board.complete else [])


def test_every_committed_leaderboard_comes_from_its_suite_file(registry):
    boards = board_files(ROOT / "leaderboard")
    assert boards
    for path in boards:
        assert stale_rows(path, registry) == [], f"{path.name} is stale: run its suite again"


@pytest.fixture
def board(plan, tmp_path):
    """A leaderboard file with the rows of a plan and the figures of another."""
    one = plan("train.epochs=3")
    whole = read_board(ROOT / "leaderboard" / "float_vs_oat.json").rows[0]
    rows = []
    for row in one.rows:
        judges = [one.by_id[job] for job in sorted(row.jobs()) if one.by_id[job].kind == "judge"]
        jobs = RowJobs(
            train=dict(row.train),
            measure=row.measure,
            attacks={judge.id: judge.spec.images for judge in judges if judge.spec.images},
            scores={"adaptive": {"ca": {str(position): judge.id for position, judge in enumerate(judges)}}},
        )
        rows.append(whole.model_copy(update={"label": row.label, "ra": {"worst": whole.worst}, "jobs": jobs}))
    path = tmp_path / "leaderboard" / "mine.json"
    path.parent.mkdir()
    path.write_text(board_json(make_board(one, rows, {}, complete=True, suite_file="../mine.yaml")))
    return path


def test_a_leaderboard_of_this_code_is_not_stale(board, registry):
    assert stale_rows(board, registry) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda text: re.sub(r'"judge-[0-9a-f]{16}"', '"judge-0000000000000000"', text),
        lambda text: re.sub(r'"attack-[0-9a-f]{16}"', '"attack-0000000000000000"', text, count=1),
        lambda text: text.replace('"train.epochs=3"', ""),
        lambda text: text.replace('"precision": "float32"', '"precision": "bf16"'),
        lambda text: text.replace('"device": "cpu"', '"device": "cuda"'),
    ],
)
def test_a_leaderboard_with_another_id_option_or_device_is_stale(board, registry, change):
    changed = change(board.read_text())
    assert changed != board.read_text()
    board.write_text(changed)
    assert stale_rows(board, registry)


def test_a_leaderboard_lacking_a_row_is_stale(board, registry):
    data = json.loads(board.read_text())
    data["rows"].pop()
    board.write_text(json.dumps(data))
    assert stale_rows(board, registry)


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
