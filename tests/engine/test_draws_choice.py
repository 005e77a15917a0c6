"""Draws that a run chooses: probes as jobs, what reads them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from knobbed import KnobbedSuite, knobbed_registry
from safetensors.numpy import load

from robuststack.engine import draws as choosing
from robuststack.engine.attack import attack_block
from robuststack.errors import PluginError, SuiteError
from robuststack.hardware import Hardware
from robuststack.leaderboard.board_file import read_board
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plan.rejudge import plan_rejudging
from robuststack.running.cached import look_up
from robuststack.running.rejudge import rejudge
from robuststack.running.store import Store
from robuststack.suite.loading import load_suite
from robuststack_plugins.attacks.pgd import PGD
from stores import edit

SUITE = KnobbedSuite(
    "noisy",
    """
datasets: {name: bright}
threat: {eps: 0.2}
defenses: [{name: knobbed, options: {noise: 1.0}, points: {pixel: [0]}}]
attacks: [{name: pgd, options: {steps: 2, draws: auto}}]
evaluate: {block: 10, draws: 4}
measure: {latency: false}
precision: float32
""",
)
ran, planned = SUITE.run, SUITE.plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the suite has run."""
    made = tmp_path_factory.mktemp("noisy")
    assert not ran(made).failed
    return made


# --- the plan


def kinds(plan: Plan) -> list[str]:
    return [job.kind for job in plan.jobs]


def test_a_probe_comes_before_the_attack_that_reads_it(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert kinds(plan) == ["judge", "draws", "attack", "judge", "measure"]
    probe, attack = plan.jobs[1:3]
    assert attack.spec.draws_from == probe.id
    assert probe.id in attack.needs
    # The options stay as the suite wrote them: what was chosen is in the probe's result.
    assert attack.spec.attack.options["draws"] == "auto"
    assert plan.only("knobbed").jobs == plan.jobs


def test_a_setting_without_noise_needs_no_probe(tmp_path: Path) -> None:
    plan = planned(tmp_path, "defenses.0.options.noise=0.0")
    assert kinds(plan) == ["judge", "attack", "judge", "measure"]
    assert plan.jobs[1].spec.draws_from is None
    assert plan.rows[0].attacks["adaptive"]["PGD-2"]["draws"] == 1


def test_draws_that_are_a_number_leave_the_ids_as_they_were(tmp_path: Path) -> None:
    plan = planned(tmp_path, "attacks.0.options.draws=2")
    assert "draws" not in kinds(plan)
    assert "draws_from" not in json.dumps(plan.jobs[1].spec.plain())


def test_a_sweep_may_hold_auto_beside_numbers(tmp_path: Path) -> None:
    plan = planned(tmp_path, "attacks={name: pgd, options: {steps: 2}, sweep: {draws: [1, auto]}}")
    assert kinds(plan).count("draws") == 1
    assert list(plan.attacks) == ["PGD-2 draws=1", "PGD-2 draws=auto"]


def test_a_large_split_is_probed_on_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text(
        "datasets: {name: tradeoff, options: {images: 60, test_images: 900, size: 8, classes: 4}}\n"
        "architectures: resnet8\nthreat: {eps: 0.1}\ntrain: {batch_size: 30}\ndefenses: pni\n"
        "attacks: {name: autoattack_rand, options: {draws: auto}}\n"
    )
    plan = make_plan(load_suite(path), knobbed_registry(), Hardware("cpu", "float32"))
    probe = next(job for job in plan.jobs if job.kind == "draws")
    assert probe.spec.selection.count(900) == 500
    assert next(job for job in plan.jobs if job.kind == "attack").spec.selection.sample is None


def test_a_protocol_that_sets_the_draws_needs_no_probe(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(
        "datasets: {name: tradeoff, options: {images: 60, test_images: 30, size: 8, classes: 4}}\n"
        "architectures: resnet8\nthreat: {eps: 0.1}\ntrain: {batch_size: 30}\n"
        "defenses: {name: float, points: {lambda_n: [1]}}\nattacks: {name: pgd, options: {draws: auto}}\n"
        "evaluate: {protocols: [published]}\n"
    )
    plan = make_plan(load_suite(path), knobbed_registry(), Hardware("cpu", "float32"))
    assert "draws" not in kinds(plan)
    assert plan.rows[0].attacks["published"]["PGD-20"]["draws"] == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("attacks.0.options.draws=many", "draws: must be a valid integer.* or 'auto', not 'many'"),
        ("attacks.0.options.draws=0", "draws: must be greater than or equal to 1 or 'auto', not 0"),
    ],
)
def test_draws_that_are_no_number_are_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        planned(tmp_path, override)


def test_a_training_attack_cannot_choose(tmp_path: Path) -> None:
    path = tmp_path / "training.yaml"
    path.write_text(
        "datasets: {name: tradeoff}\narchitectures: resnet8\ndefenses: pgd_at\nattacks: pgd\n"
        "train: {attack: {name: pgd, options: {draws: auto}}}\n"
    )
    with pytest.raises(
        SuiteError, match=r"training\.yaml:5:\d+: train\.attack: draws: auto is chosen by attacks on a finish"
    ):
        make_plan(load_suite(path), knobbed_registry(), Hardware("cpu", "float32"))


def test_an_attack_called_by_hand_asks_for_a_number() -> None:
    attack = PGD(PGD.Options(draws="auto"))
    assert attack.draws(stochastic=False) == 1
    with pytest.raises(PluginError, match=r"draws: auto is a choice that a run of a suite makes"):
        attack.draws(stochastic=True)
    assert attack.with_draws(3).draws(stochastic=True) == 3


# --- what it comes to


def test_the_row_keeps_the_curve_and_what_was_chosen(folder: Path) -> None:
    board = read_board(folder / "board" / "noisy.json")
    (row,) = board.rows
    choice = row.draws_chosen["PGD-2"]["0/0"]
    # Two dozen images cannot exclude a fall of a point.
    assert (choice.draws, choice.cap_reached, choice.n) == (64, True, 24)
    assert [point.draws for point in choice.curve] == [1, 2, 4, 8, 16, 32, 64]
    assert [point.passes for point in choice.curve][:3] == [4, 8, 16]
    assert row.attacks["PGD-2"]["draws"] == "64 (auto, cap reached)"
    markdown = (folder / "board" / "noisy.md").read_text()
    assert "draws=64 (auto, cap reached)" in markdown
    assert "![The draws that were chosen for the attacks](noisy.draws.svg)" in markdown
    assert "knobbed noise=1 pixel=0, PGD-2" in (folder / "board" / "noisy.draws.svg").read_text()
    # Two steps of 64 passes on each of three blocks.
    assert row.effort.calls == {"PGD-2": 3 * 2 * 64}


def test_the_probe_starts_where_the_attack_does_and_is_judged_on_other_noise(folder: Path) -> None:
    plan, store = planned(folder), Store(folder / "store")
    probe, attack, judge = (job.id for job in plan.jobs[1:4])
    kept = load((store.folder(probe) / "labels.safetensors").read_bytes())
    judged = load((store.folder(judge) / "labels.safetensors").read_bytes())
    # All images are probed, so the attack that follows makes the same images; only the judging differs.
    assert kept["64"].shape == judged["labels"].shape
    assert (kept["64"] != judged["labels"]).any()
    assert store.result(attack)["draws_from"] == {probe: 64}


def test_a_probe_that_judges_on_the_rows_stream_would_be_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "STREAM", "judge")
    plan = ran(tmp_path).plan
    store = Store(tmp_path / "store")
    kept = load((store.folder(plan.jobs[1].id) / "labels.safetensors").read_bytes())
    judged = load((store.folder(plan.jobs[3].id) / "labels.safetensors").read_bytes())
    assert (kept["64"] == judged["labels"]).all(), "the planted fault: the very noise that the row is judged on"


def test_a_killed_probe_goes_on_and_a_finished_one_is_not_run_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed = []

    def counted(*arguments, **options):
        probed.append(options["number"])
        if len(probed) == 5:
            raise KeyboardInterrupt
        return attack_block(*arguments, **options)

    monkeypatch.setattr(choosing, "attack_block", counted)
    with pytest.raises(KeyboardInterrupt):
        ran(tmp_path)
    ran(tmp_path)
    ran(tmp_path)
    assert len(probed) == 7 * 3 + 1
    whole, resumed = (
        json.loads((place / "board" / "noisy.json").read_text())["rows"][0]["draws_chosen"]
        for place in (folder, tmp_path)
    )
    assert whole == resumed


def test_another_choice_makes_the_attack_stale(folder: Path) -> None:
    plan, store = planned(folder), Store(folder / "store")
    probe, attack = (job.id for job in plan.jobs[1:3])
    assert attack in look_up(plan.jobs, store)
    path = store.folder(probe) / "result.json"
    before = path.read_text()
    try:
        edit(path, draws=2)
        assert attack not in look_up(plan.jobs, store)
    finally:
        path.write_text(before)


def test_images_of_chosen_draws_can_be_judged_again(folder: Path) -> None:
    store, registry = Store(folder / "store"), knobbed_registry()
    attack = planned(folder).jobs[2].id
    rejudging = plan_rejudging(store, registry, attack, draws=6)
    assert rejudge(rejudging, store, registry, folder).labels.labels.shape == (6, 24)


def test_a_game_attacks_mixtures_with_the_draws_that_were_chosen(tmp_path: Path) -> None:
    result = ran(tmp_path, "defenses.0.points={pixel: [0, 1]}", "evaluate.game=true", "evaluate.limit=12")
    (game,) = result.games
    store = Store(tmp_path / "store")
    rounds = store.result(game.jobs["0/0"])["rounds"]
    assert rounds, "two settings that are alike are mixed"
    # 64 draws in all, shared by the two settings, in each of two steps.
    assert rounds[0]["checks"]["calls"] % (2 * 64) == 0
