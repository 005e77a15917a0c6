"""Regressions: none where nothing changed, and each planted fault is caught, on this machine and as if on another."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_games import make_game
from made_rows import changed, with_row

import robuststack as rs
from robuststack.attacks import ascent as loop
from robuststack.cli import call
from robuststack.engine import train as training
from robuststack.errors import LeaderboardError
from robuststack.hardware import Hardware
from robuststack.layers.dual_norm import DualNorm
from robuststack.layers.noise import WeightNoise
from robuststack.leaderboard import board_labels
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.regress import flip_rate, refuse_unusable, regressions
from robuststack.running.executors.workers import WorkersExecutor

COMMITTED = Path(__file__).parents[2] / "leaderboard"
Opened = tuple[Board, dict[str, np.ndarray]]


def opened(path: Path) -> Opened:
    board = read_board(path)
    return board, board_labels.load_correct(path, board.rows)


@pytest.fixture(scope="module")
def old(trained) -> Opened:
    return opened(trained.leaderboard / "small.json")


@pytest.fixture
def again(trained, tmp_path) -> Callable[..., Opened]:
    """The suite attacked again, on the models that it had trained."""

    def run(*, retrain: bool = False, only: str | None = None, name: str = "new") -> Opened:
        store = tmp_path / name / "store"
        shutil.copytree(trained.store, store)
        shutil.rmtree(store / "attack")
        if retrain:
            shutil.rmtree(store / "train")
        result = rs.run(trained.suite, store=store, leaderboard=tmp_path / name, device="cpu", only=only)
        return opened(result.files[0])

    return run


def elsewhere(board: Opened) -> Opened:
    """The same leaderboard, as if another processor had made it."""
    rows = (changed(row, machine=changed(row.machine, device="another processor")) for row in board[0].rows)
    return changed(board[0], rows=tuple(rows)), board[1]


def changes(old: Opened, new: Opened) -> set[tuple[str, str]]:
    """(defense, what) of every change but those of time, which a busy machine may make."""
    kept = regressions(*crossed(old, new))
    defenses = {row.label: row.defense for row in old[0].rows}
    return {
        (defenses.get(change.label, change.label), change.what) for change in kept if "times the" not in change.what
    }


def test_the_same_code_gives_the_same_here_and_elsewhere(old, again):
    new = again()
    assert changes(old, new) == set()
    assert changes(elsewhere(old), new) == set()


def test_noise_that_is_off_is_caught(again, monkeypatch):
    plain = WeightNoise.noisy_weight
    # Loud enough to matter to so small a model.
    monkeypatch.setattr(WeightNoise, "noisy_weight", lambda self, scale: plain(self, 8 * scale))
    loud = again(only="float", name="loud")
    monkeypatch.setattr(WeightNoise, "noisy_weight", lambda self, scale: self.weight)
    new = again(only="float")
    assert {defense for defense, _ in changes(loud, new)} == {"float"}
    assert any(defense == "float" and what.endswith("label flips %") for defense, what in changes(elsewhere(loud), new))


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
    assert {defense for defense, _ in changes(old, new)} == {"float", "oat"}
    # FLOAT's branches differ by less than rounding might explain in a model so small.
    assert {"oat"} <= {defense for defense, _ in changes(elsewhere(old), new)} <= {"float", "oat"}


def test_an_attack_without_steps_is_caught(old, again, monkeypatch):
    monkeypatch.setattr(loop, "ascend", lambda attack, model, x, *rest, **options: x)
    new = again()
    assert {("none", "effort"), ("pgd_at", "effort"), ("float", "effort"), ("oat", "effort")} <= changes(old, new)
    assert any(what.startswith("RA PGD-5") for _, what in changes(elsewhere(old), new))


def test_an_epoch_fewer_is_caught(old, again, monkeypatch):
    plain = training.train

    def shorter(state, defense, data, attack, threat, recipe, *rest, **options):
        return plain(state, defense, data, attack, threat, recipe.model_copy(update={"epochs": 3}), *rest, **options)

    monkeypatch.setattr(training, "train", shorter)
    new = again(retrain=True, only="none")
    none = changed(old[0], rows=tuple(row for row in old[0].rows if row.defense == "none"))
    assert ("none", "effort") in changes((none, old[1]), new)


# --- each rule by itself


def crossed(old: Opened, new: Opened) -> tuple[Any, ...]:
    return old[0], new[0], old[1], new[1]


def first_changed(board: Opened, **values: Any) -> Opened:
    return with_row(board[0], 0, **values), board[1]


@pytest.mark.parametrize("key", ["parameters", "macs", "n", "draws", "options", "recipe", "attacks", "split"])
def test_what_no_machine_changes_must_be_equal(old, key):
    assert (old[0].rows[0].defense, key) in changes(old, first_changed(old, **{key: "other"}))


def test_steps_must_be_equal_and_calls_of_an_attack_that_stops_early_on_the_same_platform(old):
    effort = old[0].rows[0].effort
    fewer = changed(effort, steps=tuple(steps - 1 for steps in effort.steps))
    assert ("none", "effort") in changes(old, first_changed(old, effort=fewer))
    calls = changed(effort, calls={label: count + 2 for label, count in effort.calls.items()})
    assert changes(old, first_changed(old, effort=calls)) == {("none", "effort")}
    assert changes(elsewhere(old), first_changed(old, effort=calls)) == set()


def test_rows_that_come_and_go_are_regressions(old):
    shorter = changed(old[0], rows=old[0].rows[1:])
    assert ("none", "row") in changes(old, (shorter, old[1]))
    assert [regression.new for regression in regressions(shorter, old[0], old[1], old[1])] == ["there"]


def test_times_are_held_against_the_undefended_network(old):
    (position,) = (position for position, row in enumerate(old[0].rows) if row.defense == "pgd_at")
    row = old[0].rows[position]
    latency = {batch: changed(timed, relative=timed.relative * 4) for batch, timed in row.latency_ms.items()}
    slow = with_row(old[0], position, train_seconds_per_epoch=row.train_seconds_per_epoch * 4, latency_ms=latency)
    kept = [regression.what for regression in regressions(old[0], slow, old[1], old[1])]
    assert kept == ["training time, times the undefended network's", "latency, times the undefended network's"]
    # A machine that is slower altogether.
    rows = (changed(row, train_seconds_per_epoch=row.train_seconds_per_epoch * 5) for row in old[0].rows)
    assert regressions(old[0], changed(old[0], rows=tuple(rows)), old[1], old[1]) == []


def test_flip_rates():
    assert flip_rate(np.ones((1, 5), dtype=bool)) == 0
    assert flip_rate(np.array([[True, True], [False, True]])) == 50
    assert flip_rate(np.random.RandomState(0).random_sample((50, 4000)) < 0.5) == pytest.approx(50, abs=0.5)


def test_another_suite_and_missing_outcomes_are_refused(old):
    with pytest.raises(LeaderboardError, match="the baseline is of suite 'other', not 'small'"):
        regressions(changed(old[0], suite="other"), old[0], old[1], old[1])
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
    (row,) = (row for row in board.rows if row.defense == "pgd_at")
    (job,) = row.jobs.scores["adaptive"]["ca"].values()

    def turned(count: int) -> Opened:
        flipped = kept[job].copy()
        right = np.flatnonzero(flipped[0])[:count]
        flipped[:, right] = False
        return old[0], {**kept, job: flipped}

    assert changes((board, kept), turned(3)) == set()
    assert changes((board, kept), turned(40)) == {("pgd_at", "CA (seeds 0/0)")}
    assert changes(old, turned(3)) == {("pgd_at", "CA (seeds 0/0)")}


def test_every_protocol_is_held_against_its_outcomes():
    path = COMMITTED / "cpu_random_resize.json"
    board, kept = old = opened(path)
    row = next(row for row in board.rows if row.protocols)
    (protocol, scores) = next(iter(row.protocols.items()))
    figure = scores.single_attacks[0]
    seeds, job = next(iter(row.judge_jobs(protocol)[figure].items()))
    what = f"{row.figure_name(figure, protocol)} (seeds {seeds})"
    turned = board, {**kept, job: ~kept[job]}
    for before in (old, elsewhere(old)):
        assert {(change.label, change.what) for change in regressions(*crossed(before, turned))} == {(row.label, what)}
    assert regressions(*crossed(old, old)) == []


def test_a_figure_that_came_or_went_is_a_regression_and_not_a_baseline_that_cannot_be_used(old):
    row = old[0].rows[0]
    (attack, *_) = row.scores[row.protocol].single_attacks
    scores = {row.protocol: {name: jobs for name, jobs in row.judge_jobs(row.protocol).items() if name != attack}}
    fewer = first_changed(old, jobs=changed(row.jobs, scores=scores))
    where = "none", f"RA {attack} (seeds 0/0)"
    assert where in changes(old, fewer)
    assert where in changes(fewer, old)


def test_games_are_held_against_the_committed_ones(old):
    def played(board: Opened, *games: Any) -> Opened:
        return changed(board[0], games=games), board[1]

    game = make_game()
    near = make_game(hidden={"value": 44.0, "low": 39.0, "high": 49.0})
    far = make_game(hidden={"value": 60.0, "low": 55.0, "high": 65.0})
    name = f"{game.heading}, {game.title}"
    assert changes(played(old, game), played(old, game)) == set()
    assert changes(played(old, game), played(old, near)) == {(name, "game")}
    assert changes(played(elsewhere(old), game), played(old, near)) == set()
    assert changes(played(elsewhere(old), game), played(old, far)) == {(name, "game, hidden")}
    assert changes(played(old, game), old) == changes(old, played(old, game)) == {(name, "game")}


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
    assert [regression["what"] for regression in json.loads(capsys.readouterr().out)["regressions"]] == ["parameters"]


def test_a_red_run_names_its_rows_and_keeps_its_log(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["regress", str(trained.suite), "--store", str(trained.store), "--baseline", "board/small.json"]
    assert call([*arguments, "--update"]) == 0
    assert call(arguments) == 0
    assert list(Path(".regress").iterdir()) == [], "a green run leaves no log"
    board = json.loads(Path("board/small.json").read_text())
    row = board["rows"][0]
    row["parameters"] += 1
    Path("board/small.json").write_text(json.dumps(board))
    assert call(arguments) == 1
    (log,) = Path(".regress").iterdir()
    assert f"the log is kept in {log}" in capsys.readouterr().err
    changed = f"red: {row['label']}: parameters: {row['parameters']} -> {row['parameters'] - 1}"
    assert changed in log.read_text()
    assert call([*arguments, "--log", "mine.log"]) == 1
    assert changed in Path("mine.log").read_text()


def test_a_log_that_cannot_be_written_is_one_line(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    for place in ("file/mine.log", "."):
        assert call(["regress", str(trained.suite), "--update", "--log", place]) == 2
        assert f"error: cannot write {place.removesuffix('/mine.log')}: " in capsys.readouterr().err


def test_a_baseline_that_is_accepted_can_be_told_as_json(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["regress", str(trained.suite), "--store", str(trained.store), "--update", "--json"]
    assert call(arguments) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["regressions"] == []
    assert "accepted as the baseline: leaderboard/small.json" in shown.err


def test_a_dead_worker_is_named_and_the_other_rows_are_compared(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["regress", str(trained.suite), "--baseline", "board/small.json", "--store"]
    assert call([*arguments, str(trained.store), "--update"]) == 0
    board = json.loads(Path("board/small.json").read_text())
    for row in board["rows"]:
        row["parameters"] += 1
    Path("board/small.json").write_text(json.dumps(board))
    store = tmp_path / "store"
    shutil.copytree(trained.store, store)
    shutil.rmtree(store / "train" / trained.job("none"))
    capsys.readouterr()
    plain = WorkersExecutor.finished

    def shot(self, report):
        for worker in self._workers:
            if worker.job is not None and worker.job.kind == "train":
                while not worker.trace.exists():  # A process that has just been started could not say where it was.
                    time.sleep(0.01)
                os.kill(worker.process.pid, signal.SIGSEGV)
        return plain(self, report)

    monkeypatch.setattr(WorkersExecutor, "finished", shot)
    assert call([*arguments, str(store), "--workers", "2"]) == 1
    shown = capsys.readouterr()
    (log,) = Path(".regress").iterdir()
    for text in (shown.err, log.read_text()):
        assert "its process was killed by SIGSEGV" in text
    assert ".py:" in shown.err.partition("SIGSEGV, in ")[2].partition("\n")[0], "and at which line it was"
    labels = {row["defense"]: row["label"] for row in board["rows"]}
    assert f"red: {labels['none']}: row: there -> missing" in log.read_text()
    assert f"red: {labels['oat']}: parameters: " in log.read_text()
