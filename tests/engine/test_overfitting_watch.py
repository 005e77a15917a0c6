"""Catastrophic overfitting by FGSM without a random start, provoked, and what the watch makes of it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from made_rows import make_row
from torch import nn

import robuststack as rs
from robuststack.cli import call
from robuststack.engine import train as training
from robuststack.engine.best_checkpoint import BestCheckpoint
from robuststack.engine.data import Data
from robuststack.engine.overfitting import JUDGES
from robuststack.engine.runtime import Runtime
from robuststack.evidence.overfitting import APART, FGSM, PGD, catastrophic_overfitting
from robuststack.hardware import Hardware
from robuststack.leaderboard.row import OverfittingRecord
from robuststack.leaderboard.row_maker import _overfitting
from robuststack.leaderboard.suspicion import suspicions
from robuststack.plan.plan import RowPlan
from robuststack.plugin.registry import Registry
from robuststack.running.store import Store
from robuststack.suite.recipe import Recipe

REGISTRY = Registry()
RUNTIME = Runtime(Hardware("cpu", "float32"))
EPS = 0.15


class Shown(Exception):
    """Ends a training run that showed what it was run for."""


def grays(count: int, gap: float, seed: int) -> Data:
    """Two classes, gray images `gap` darker and brighter than 0.5. With a gap below eps no network is robust, and one that
    FGSM trains can learn stripes: its step of eps jumps over the other class."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = 0.5 + gap * (2.0 * labels - 1)[:, None, None, None]
    return Data((images + 0.01 * torch.randn(count, 1, 4, 4, generator=source)).clamp(0, 1), labels)


def trained(attack: str, gap: float, epochs: int, checkpoint: Any = "last", epoch_done: Any = None) -> training.State:
    defense = REGISTRY.create("defense", "pgd_at")
    recipe = Recipe(
        epochs=epochs, batch_size=20, optimizer="adamw", lr=3e-3, weight_decay=0.0, checkpoint=checkpoint
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(16, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 2)
        )
    state = training.begin(defense, model, recipe)
    options = {"steps": 3} if attack == "pgd" else {}
    with contextlib.suppress(Shown):
        training.train(
            state, defense, grays(100, gap, 0), REGISTRY.create("attack", attack, options), rs.Threat(eps=EPS), recipe,
            RUNTIME, seed=0, augmentation=rs.Augmentation(), validation=grays(60, gap, 1),
            epoch_done=epoch_done or (lambda epoch, metrics: None),
        )  # fmt: skip
    return state


def test_fgsm_without_a_random_start_overfits_and_the_watch_names_the_epoch():
    def until_it_shows(epoch: int, metrics: dict[str, float]) -> None:
        if metrics[FGSM] - metrics[PGD] >= APART:
            raise Shown

    history = trained("fgsm", 0.1, 80, epoch_done=until_it_shows).history
    assert history[-1][FGSM] - history[-1][PGD] >= APART, "it did not overfit"
    overfitting = catastrophic_overfitting(history)
    assert overfitting is not None
    assert overfitting.epoch <= len(history)
    assert overfitting.pgd <= 25


@pytest.mark.parametrize("attack", ["fgsm", "fgsm_rs", "n_fgsm", "free"])
def test_where_robustness_can_be_had_no_attack_of_one_step_overfits(attack):
    history = trained(attack, 0.4, 4).history
    assert catastrophic_overfitting(history) is None
    assert history[-1][PGD] == 100
    assert history[-1][FGSM] == 100


def test_training_by_several_steps_is_not_watched_and_costs_nothing_more():
    assert not {PGD, FGSM} & trained("pgd", 0.4, 1).history[0].keys()


def test_an_epoch_without_attacked_images_is_not_watched():
    defense = REGISTRY.create("defense", "none")
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    recipe = Recipe(epochs=1, batch_size=20)
    state = training.train(
        training.begin(defense, model, recipe), defense, grays(20, 0.4, 0), REGISTRY.create("attack", "fgsm"),
        rs.Threat(eps=EPS), recipe, RUNTIME, seed=0, augmentation=rs.Augmentation(), validation=grays(20, 0.4, 1),
        epoch_done=lambda epoch, metrics: None,
    )  # fmt: skip
    assert PGD not in state.history[0]


def test_the_best_checkpoint_of_training_by_one_step_is_chosen_by_pgd(monkeypatch):
    """RA under the training attack would choose the epoch that overfitted most."""
    asked = []

    def noted(model: Any, defense: Any, validation: Any, attack: Any, *_: Any) -> float:
        asked.append(attack)
        return 50.0

    monkeypatch.setattr(training, "validation_ra", noted)
    state = trained("fgsm", 0.4, 1, checkpoint="best")
    assert asked == [JUDGES[PGD]]
    assert isinstance(state.best, BestCheckpoint)
    trained("pgd", 0.4, 1, checkpoint="best")
    assert asked[1].name == "pgd"


def test_a_row_of_weights_from_after_it_is_doubtful():
    seen = {"epoch": 3, "pgd": 0.0, "fgsm": 95.0}
    late, early = ({"phases": [{"epochs": 5, "kept_epoch": kept}]} for kept in (5, 2))
    results = {"train-0": {**late, "overfitting": seen}, "train-1": {**early, "overfitting": seen}, "train-2": late}
    row = RowPlan("row", {}, {0: "train-0", 1: "train-1", 2: "train-2"}, "measure", {}, {}, {}, {})
    kept = _overfitting(row, results)
    assert kept == {0: seen}
    doubtful = make_row(overfitting={0: OverfittingRecord(**seen)})
    assert suspicions(doubtful) == [
        "catastrophic overfitting in epoch 3: on validation images RA is 0.0 under PGD and 95.0 under FGSM"
        " (training seed 0)"
    ]
    assert "overfitting" in doubtful.model_dump()
    assert "overfitting" not in make_row().model_dump(), "files leave it out where there is none"


SUITE = """
datasets: {name: tradeoff, options: {images: 60, test_images: 20, size: 8, classes: 4}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 3, batch_size: 20, attack: fgsm}
defenses: pgd_at
attacks: fgsm
measure: {latency: false}
"""


def test_the_terminal_the_result_and_the_row_name_the_epoch(tmp_path, monkeypatch, capsys):
    """What the watch would see is given; the rest is a run of the command."""
    shown = {1: {PGD: 40.0, FGSM: 45.0}, 2: {PGD: 1.0, FGSM: 90.0}, 3: {PGD: 0.0, FGSM: 95.0}}
    monkeypatch.setattr(training, "watched", lambda *arguments: shown[arguments[-1]])
    (tmp_path / "suite.yaml").write_text(SUITE)
    assert (
        call(["run", str(tmp_path / "suite.yaml"), "--store", str(tmp_path / "store"), "--leaderboard", str(tmp_path)])
        == 0
    )
    told = "catastrophic overfitting in epoch 2: on validation images RA is 1.0 under PGD and 90.0 under FGSM"
    printed = capsys.readouterr()
    assert (printed.out + printed.err).replace("\n", " ").count(told) == 2, "once as it happens, once below the table"
    (row,) = rs.load_board(tmp_path / "suite.json").rows
    assert row.overfitting == {0: OverfittingRecord(epoch=2, pgd=1.0, fgsm=90.0)}
    (job,) = row.jobs.train.values()
    assert Store(tmp_path / "store").result(job)["overfitting"] == {"epoch": 2, "pgd": 1.0, "fgsm": 90.0}
