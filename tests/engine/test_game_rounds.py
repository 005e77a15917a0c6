"""Games run as jobs: known values, rounds that find what hiding hides, and runs that go on where they were killed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from knobbed import KnobbedSuite
from safetensors.numpy import load

import robuststack as rs
from robuststack.engine.attack import attack_block
from robuststack.errors import SuiteError
from robuststack.evidence.game import ModelGame, worth
from robuststack.leaderboard.board_file import read_board
from robuststack.running.store import Store
from stores import edit

SUITE = KnobbedSuite(
    "known",
    """
datasets: {name: bright}
threat: {eps: 0.2}
defenses: {name: knobbed, points: {pixel: [0, 1, 2]}}
attacks: {name: pgd, options: {steps: 8, draws: 4}}
evaluate: {game: true, block: 10, draws: 4, keep_images: false}
measure: {latency: false}
precision: float32
""",
)
played, planned = SUITE.run, SUITE.plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the suite has run."""
    made = tmp_path_factory.mktemp("known")
    assert not played(made).failed
    return made


# --- the plan


def test_each_attack_runs_at_each_setting_to_the_end_and_is_judged_at_every_one(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    (game,) = plan.games
    assert game.settings == ("pixel=0", "pixel=1")
    # Two points that come to one setting share its column.
    assert [len(rows) for rows in game.rows] == [2, 1]
    (job,) = (job for job in plan.jobs if job.kind == "game")
    crafted = {plan.by_id[judge].spec.images for row in job.spec.rows for judge in row.judged}
    assert len(crafted) == 2
    assert not any(plan.by_id[attack].spec.early_stop for attack in crafted)
    assert len(job.spec.judged) == 2 + 2 * 2
    # What the rows' own attacks do with an early stop is other work; without one it is the same.
    to_the_end = planned(tmp_path, "attacks={name: pgd, options: {steps: 8, early_stop: false}}")
    assert len([job for job in to_the_end.jobs if job.kind == "attack"]) == 2
    assert planned(tmp_path, "evaluate.game=false").games == ()


def test_rows_that_are_left_out_take_their_game_with_them(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert plan.only("pixel=0").games == ()
    assert {job.kind for job in plan.only("pixel=0").jobs} == {"attack", "judge", "measure"}
    assert plan.only("knobbed").games == plan.games
    assert plan.only("knobbed").jobs == plan.jobs


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["defenses={name: knobbed, points: {pixel: [0, 2]}}"], "game: no defense here has two settings of one model"),
        (["evaluate.game={ca: 120}"], "evaluate.game.ca: must be less than or equal to 100, not 120"),
        (["evaluate.game={value: 1}"], "unknown key 'value' in evaluate.game: valid: ca"),
    ],
)
def test_a_game_that_cannot_be_played_is_refused(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        planned(tmp_path, *overrides)


# --- what it comes to


def test_an_attacker_who_averages_over_the_mixture_takes_all_that_hiding_promised(folder: Path) -> None:
    board = read_board(folder / "board" / "known.json")
    (game,) = board.games
    matched, other = game.craftings[0].accuracy
    assert matched == 0
    assert other > 20
    # Hidden, the two settings are matching pennies on the images that the random start leaves; until they are attacked.
    assert game.values[0] > 20
    assert game.values[-1] == game.hidden.value == 0
    assert not game.upper_bound
    assert game.craftings[2].against == "mixture, round 1"
    assert game.craftings[2].accuracy == (0, 0)
    assert (game.seen.value, game.hiding.value, game.one_for_all.value) == (0, 0, 0)
    assert game.hidden.high == pytest.approx(100 * (1 - 0.025 ** (1 / 24)), abs=0.01)
    assert [setting.clean for setting in game.settings] == [100, 100]


def test_weights_that_are_ignored_leave_the_value_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robuststack.engine import game

    def first_view(attacker, *arguments, **options):
        return attack_block(attacker.views[0], *arguments, **options)

    monkeypatch.setattr(game, "attack_block", first_view)
    (found,) = played(tmp_path).games
    assert found.hidden.value > 10


def test_the_labels_behind_the_matrix_and_the_rounds_stand_beside_the_leaderboard(folder: Path) -> None:
    board = read_board(folder / "board" / "known.json")
    labels = rs.load_labels(folder / "board" / "known.json")
    (game,) = board.games
    cells = game.cells["0/0"]
    assert len(cells) == len(game.craftings) > 2
    for crafting, names in zip(game.craftings, cells, strict=True):
        accuracy = [100 * labels[name].correct.mean() for name in names]
        assert accuracy == pytest.approx(crafting.accuracy, abs=1e-3)
    # The value of the game follows from them.
    of_setting = [np.stack([labels[row[place]].labels for row in cells]) for place in range(2)]
    truth = labels[cells[0][0]].truth
    clean = tuple(setting.clean / 100 for setting in game.settings)
    hidden = worth([[ModelGame(tuple(of_setting), truth, clean)]]).hidden.value
    assert 100 * hidden == pytest.approx(game.hidden.value, abs=1e-3)


def test_the_game_is_told_in_table_markdown_and_picture(folder: Path) -> None:
    text = (folder / "board" / "known.md").read_text()
    assert "## The knob as a game" in text
    assert "![The knob of knobbed as a game](known.game-1.svg)" in text
    picture = (folder / "board" / "known.game-1.svg").read_text()
    assert "PGD-8 on mixture, round 1" in picture
    assert "pixel=1" in picture


def test_noise_is_judged_on_the_draws_that_judged_the_other_rows(tmp_path: Path) -> None:
    result = played(tmp_path, "defenses={name: knobbed, options: {noise: 0.5}}")
    (game,) = result.games
    assert game.hidden.value == pytest.approx(0, abs=5)
    store = Store(tmp_path / "store")
    (job,) = (job for job in result.plan.jobs if job.kind == "game")
    kept = load((store.folder(job.id) / "labels.safetensors").read_bytes())
    assert kept["1/0"].shape == (4, 24)
    assert store.result(job.id)["rounds"][0]["attacked"] > 12


def test_a_clean_accuracy_that_no_mixture_has_fails_in_one_line(tmp_path: Path) -> None:
    result = played(tmp_path, "evaluate.game={ca: 100}", "defenses={name: knobbed, options: {noise: 5.0}}")
    (reason,) = result.failed.values()
    assert reason.startswith(
        "evaluate.game.ca: no mixture of these settings has a clean accuracy of 100 %; the highest is"
    )
    assert len(result.rows) == 2
    assert result.games == []


def test_an_error_of_an_attack_is_not_told_as_one_of_the_clean_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robuststack.engine import game

    def broken(*arguments, **options):
        raise ValueError("mine")

    monkeypatch.setattr(game, "attack_block", broken)
    with pytest.raises(ValueError, match=r"^mine$"):
        played(tmp_path)


# --- kills


def test_a_killed_game_goes_on_at_its_next_block_with_the_same_bits(folder: Path, tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from robuststack.engine import game

    crafted = []

    def counted(attacker, *arguments, **options):
        crafted.append(options["number"])
        if crafted == [0, 0, 1]:
            raise KeyboardInterrupt
        return attack_block(attacker, *arguments, **options)

    monkeypatch.setattr(game, "attack_block", counted)
    with pytest.raises(KeyboardInterrupt):
        played(tmp_path)
    played(tmp_path)
    # Each block has an attack for each half of its images. The first block is not attacked again.
    assert crafted == [0, 0, 1, 1, 1, 2, 2]
    whole, resumed = (json.loads((place / "board" / "known.json").read_text())["games"] for place in (folder, tmp_path))
    assert whole == resumed
    played(tmp_path)
    assert len(crafted) == 7, "a finished game is taken from the store"


def test_other_labels_make_the_game_stale(folder: Path) -> None:
    from robuststack.running.cached import look_up

    plan = planned(folder)
    store = Store(folder / "store")
    (job,) = (job for job in plan.jobs if job.kind == "game")
    results = look_up(plan.jobs, store)
    assert job.id in results
    judge = job.spec.rows[0].judged[0]
    path = store.folder(judge) / "result.json"
    before = path.read_text()
    try:
        edit(path, files={**json.loads(before)["files"], "labels.safetensors": "0" * 64})
        assert job.id not in look_up(plan.jobs, store)
    finally:
        path.write_text(before)
