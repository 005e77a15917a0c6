"""Regressions: none where nothing changed, and each planted fault is caught, on this machine and as if on another."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robuststack as rs
from robuststack.attacks import ascend as loop
from robuststack.cli import call
from robuststack.engine import train as training
from robuststack.errors import LeaderboardError
from robuststack.hardware import Hardware
from robuststack.layers.dual_norm import DualNorm
from robuststack.layers.noise import WeightNoise
from robuststack.leaderboard import files, outcomes
from robuststack.leaderboard.regress import flip_rate, refuse_unusable, regressions

Board = tuple[dict[str, Any], dict[str, np.ndarray]]


def opened(path: Path) -> Board:
    board = files.read(path)
    return board, outcomes.load(path, board["rows"])


@pytest.fixture(scope="module")
def old(trained) -> Board:
    return opened(trained.leaderboard / "small.json")


@pytest.fixture
def again(trained, tmp_path) -> Callable[..., Board]:
    """The suite attacked again, on the models that it had trained."""

    def run(*, retrain: bool = False, only: str | None = None, name: str = "new") -> Board:
        store = tmp_path / name / "store"
        shutil.copytree(trained.store, store)
        shutil.rmtree(store / "attack")
        if retrain:
            shutil.rmtree(store / "train")
        result = rs.run(trained.suite, store=store, leaderboard=tmp_path / name, device="cpu", only=only)
        return opened(result.files[0])

    return run


def elsewhere(board: Board) -> Board:
    """The same leaderboard, as if another processor had made it."""
    moved = copy.deepcopy(board[0])
    for row in moved["rows"]:
        row["machine"] = {**row["machine"], "device": "another processor"}
    return moved, board[1]


def found(old: Board, new: Board) -> set[tuple[str, str]]:
    """(defense, what) of every regression but those of time, which a busy machine may make."""
    kept = regressions(old[0], new[0], old[1], new[1])
    defenses = {row["label"]: row["defense"] for row in old[0]["rows"]}
    return {(defenses.get(one.label, one.label), one.what) for one in kept if "times the" not in one.what}


def test_the_same_code_gives_the_same_here_and_elsewhere(old, again):
    new = again()
    assert found(old, new) == set()
    assert found(elsewhere(old), new) == set()


def test_noise_that_is_off_is_caught(again, monkeypatch):
    plain = WeightNoise.noisy_weight
    # Loud enough to matter to so small a model.
    monkeypatch.setattr(WeightNoise, "noisy_weight", lambda self, scale: plain(self, 8 * scale))
    loud = again(name="loud")
    monkeypatch.setattr(WeightNoise, "noisy_weight", lambda self, scale: self.weight)
    new = again()
    assert {defense for defense, _ in found(loud, new)} == {"float"}
    assert any(defense == "float" and what.endswith("label flips %") for defense, what in found(elsewhere(loud), new))


def test_swapped_branches_are_caught(old, again, monkeypatch):
    plain = DualNorm.forward

    def swapped(self, x):
        self.branches = self.branches[::-1]
        try:
            return plain(self, x)
        finally:
            self.branches = self.branches[::-1]

    monkeypatch.setattr(DualNorm, "forward", swapped)
    new = again()
    assert {defense for defense, _ in found(old, new)} == {"float", "oat"}
    # FLOAT's branches differ by less than rounding might explain in a model so small.
    assert {"oat"} <= {defense for defense, _ in found(elsewhere(old), new)} <= {"float", "oat"}


def test_an_attack_without_steps_is_caught(old, again, monkeypatch):
    plain = loop.ascend
    monkeypatch.setattr(loop, "ascend", lambda *args, **options: plain(*args, **{**options, "steps": 0}))
    new = again()
    assert {("none", "effort"), ("pgd_at", "effort"), ("float", "effort"), ("oat", "effort")} <= found(old, new)
    assert any(what.startswith("RA PGD-5") for _, what in found(elsewhere(old), new))


def test_an_epoch_fewer_is_caught(old, again, monkeypatch):
    plain = training.train

    def shorter(state, defense, data, attack, threat, recipe, *rest, **options):
        return plain(state, defense, data, attack, threat, recipe.model_copy(update={"epochs": 3}), *rest, **options)

    monkeypatch.setattr(training, "train", shorter)
    new = again(retrain=True, only="none")
    none = {**old[0], "rows": [row for row in old[0]["rows"] if row["defense"] == "none"]}
    assert ("none", "effort") in found((none, old[1]), new)


# --- each rule by itself


def changed(board: Board, **values: Any) -> Board:
    new = copy.deepcopy(board[0])
    new["rows"][0].update(values)
    return new, board[1]


@pytest.mark.parametrize("key", ["parameters", "macs", "n", "draws", "options", "recipe", "attacks", "split"])
def test_what_no_machine_changes_must_be_equal(old, key):
    assert (old[0]["rows"][0]["defense"], key) in found(old, changed(old, **{key: "other"}))


def test_steps_must_be_equal_and_calls_of_an_attack_that_stops_early_on_the_same_platform(old):
    effort = old[0]["rows"][0]["effort"]
    fewer = {**effort, "steps": [one - 1 for one in effort["steps"]]}
    assert ("none", "effort") in found(old, changed(old, effort=fewer))
    calls = {**effort, "calls": {name: one + 2 for name, one in effort["calls"].items()}}
    assert found(old, changed(old, effort=calls)) == {("none", "effort")}
    assert found(elsewhere(old), changed(old, effort=calls)) == set()


def test_rows_that_come_and_go_are_regressions(old):
    shorter = {**old[0], "rows": old[0]["rows"][1:]}
    assert ("none", "row") in found(old, (shorter, old[1]))
    assert [one.new for one in regressions(shorter, old[0], old[1], old[1])] == ["there"]


def test_times_are_held_against_the_undefended_network(old):
    slow = copy.deepcopy(old[0])
    (row,) = (one for one in slow["rows"] if one["defense"] == "pgd_at")
    row["train_seconds_per_epoch"] *= 4
    for timed in row["latency_ms"].values():
        timed["relative"] *= 4
    kept = [one.what for one in regressions(old[0], slow, old[1], old[1])]
    assert kept == ["training time, times the undefended network's", "latency, times the undefended network's"]
    twice = copy.deepcopy(old[0])
    for row in twice["rows"]:  # A machine that is slower altogether.
        row["train_seconds_per_epoch"] *= 5
    assert regressions(old[0], twice, old[1], old[1]) == []


def test_what_an_older_baseline_did_not_record_is_not_held_against_it(old):
    before = copy.deepcopy(old[0])
    for row in before["rows"]:
        del row["effort"]
    assert regressions(before, old[0], old[1], old[1]) == []


def test_flip_rates():
    assert flip_rate(np.ones((1, 5), dtype=bool)) == 0
    assert flip_rate(np.array([[True, True], [False, True]])) == 50
    assert flip_rate(np.random.RandomState(0).random_sample((50, 4000)) < 0.5) == pytest.approx(50, abs=0.5)


def test_another_suite_and_missing_outcomes_are_refused(old):
    with pytest.raises(LeaderboardError, match="the baseline is of suite 'other', not 'small'"):
        regressions({**old[0], "suite": "other"}, old[0], old[1], old[1])
    with pytest.raises(LeaderboardError, match="the baseline has no per-sample outcomes of"):
        regressions(old[0], old[0], {}, old[1])


def test_a_baseline_of_another_device_suite_or_without_outcomes_is_refused_before_any_compute(old):
    board, kept = old
    here = Hardware("cpu", "float32")
    refuse_unusable(board, kept, "small", here)
    message = (
        "the baseline was made on cpu in float32, this run is on cuda in bf16; pin device and precision in the suite"
    )
    with pytest.raises(LeaderboardError, match=message):
        refuse_unusable(board, kept, "small", Hardware("cuda", "bf16"))
    with pytest.raises(LeaderboardError, match="the baseline is of suite 'small', not 'other'"):
        refuse_unusable(board, kept, "other", here)
    with pytest.raises(LeaderboardError, match="none: the baseline has no per-sample outcomes of RA FGSM"):
        refuse_unusable(board, {}, "small", here)


def test_elsewhere_a_few_turned_images_pass_and_many_do_not(old):
    board, kept = elsewhere(old)
    (row,) = (one for one in board["rows"] if one["defense"] == "pgd_at")
    (job,) = row["jobs"]["adaptive"]["ca"].values()

    def turned(count: int) -> Board:
        flipped = kept[job].copy()
        right = np.flatnonzero(flipped[0])[:count]
        flipped[:, right] = False
        return old[0], {**kept, job: flipped}

    assert found((board, kept), turned(3)) == set()
    assert found((board, kept), turned(40)) == {("pgd_at", "CA (seeds 0/0)")}
    assert found(old, turned(3)) == {("pgd_at", "CA (seeds 0/0)")}


# --- the command


def test_the_command_updates_passes_and_fails(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["regress", str(trained.suite), "--store", str(trained.store), "--baseline", "board/small.json"]
    assert call(arguments) == 2
    assert "cannot be read as a leaderboard" in capsys.readouterr().err
    assert call([*arguments, "--update"]) == 0
    assert "accepted as the baseline: board/small.json" in capsys.readouterr().out
    assert call(arguments) == 0
    assert "6 rows as in board/small.json" in capsys.readouterr().out
    board = json.loads(Path("board/small.json").read_text())
    board["rows"][0]["parameters"] += 1
    Path("board/small.json").write_text(json.dumps(board))
    assert call(arguments) == 1
    shown = capsys.readouterr()
    assert "parameters" in shown.out
    assert f"if they are meant: robuststack regress {trained.suite} --update --baseline board/small.json" in shown.err
    assert call([*arguments, "--json"]) == 1
    assert [one["what"] for one in json.loads(capsys.readouterr().out)["regressions"]] == ["parameters"]
