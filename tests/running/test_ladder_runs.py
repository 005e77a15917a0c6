"""The ladder from suite to row: a run of every rung, held against baked models made by hand."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import safetensors.numpy
import torch

import robuststack as rs
from robuststack import hookimpl
from robuststack.engine import data
from robuststack.engine.bake import bake
from robuststack.engine.blocks import run_block
from robuststack.engine.judge import predictions
from robuststack.engine.workspace import Workspace
from robuststack.errors import ModelError
from robuststack.hardware import Hardware
from robuststack.leaderboard.board_labels import read_labels
from robuststack.leaderboard.ladder_drawing import draw_ladder
from robuststack.plan.job import Job
from robuststack.plan.rejudge import plan_rejudging
from robuststack.plan.specs import parse_spec
from robuststack.plugin.registry import PluginSource, Registry, installed_sources
from robuststack.running.rejudge import rejudge
from robuststack.running.store import Store

SUITE = """
datasets: {name: tradeoff, options: {images: 60, test_images: 20, size: 8, classes: 4}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 2, batch_size: 20, attack: fgsm}
defenses: {name: float, points: {lambda_n: 1}}
attacks: {name: fgsm, options: {draws: 2}}
evaluate: {ladder: true, draws: 4, block: 10}
measure: {latency: false}
precision: float32
"""
RUNS = [f"0/0/{bake}" for bake in range(5)]


def run(folder: Path, *overrides: str, registry: Registry | None = None) -> rs.Row:
    (folder / "ladder.yaml").write_text(SUITE)
    result = rs.run(
        folder / "ladder.yaml", store=folder / "store", leaderboard=None, device="cpu", overrides=overrides,
        registry=registry,
    )  # fmt: skip
    (row,) = result.rows
    return row


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ladder")


@pytest.fixture(scope="module")
def row(folder) -> rs.Row:
    return run(folder)


def test_every_rung_has_its_figures(row):
    assert list(row.scores) == ["adaptive", "off", "surrogate", "frozen_known"]
    assert row.stochastic
    assert row.draws == 4
    assert row.inapplicable == {}
    for rung in ("surrogate", "frozen_known"):
        scores = row.protocols[rung]
        assert list(row.jobs.scores[rung]["FGSM"]) == RUNS
        assert list(scores.worst.seeds or {}) == RUNS
        assert scores.worst.value == pytest.approx(np.mean(list((scores.worst.seeds or {}).values())), abs=1e-3)
    assert row.protocols["surrogate"].ca == row.protocols["off"].ca == row.ca
    assert set(row.jobs.scores["off"]["FGSM"]) == {"0/0"}


def test_the_gaps_are_those_of_the_figures(row):
    assert list(row.gaps) == ["off", "surrogate", "frozen_known"]
    for rung, gap in row.gaps.items():
        # A worst case over one attack is that attack's figure.
        assert gap.value == pytest.approx(row.worst.value - row.protocols[rung].worst.value, abs=1e-3)
        assert gap.low <= gap.value <= gap.high


def test_a_bar_is_drawn_for_each_rung(row):
    content = draw_ladder([row, row.model_copy(update={"protocols": {}, "label": "without a ladder"})])
    assert content is not None
    texts = [
        "".join(part.itertext()).strip()
        for part in ElementTree.fromstring(content).iter()
        if part.tag.endswith("}text")
    ]
    assert {"off", "surrogate", "adaptive", "frozen_known", row.label} <= set(texts)
    assert "without a ladder" not in texts
    values = [f"{row.scores[rung].worst.value:.1f}" for rung in ("off", "surrogate", "adaptive", "frozen_known")]
    assert all(value in texts for value in values)
    assert draw_ladder([row]) == draw_ladder([row])
    assert draw_ladder([row.model_copy(update={"protocols": {}})]) is None


def test_the_baked_clean_accuracy_is_that_of_models_baked_by_hand(row, folder):
    trained = rs.load_model(row.jobs.train[0], store=folder / "store")
    store = Store(folder / "store")
    test = read_labels(store, row.jobs.scores["adaptive"]["ca"]["0/0"])
    x = images_of(trained)
    right = []
    for number, run_text in enumerate(RUNS):
        labels = predictions(bake(trained.at(lambda_n=1.0), number, x[:3]), x, 1).numpy()
        assert np.array_equal(labels, read_labels(store, row.jobs.scores["frozen_known"]["ca"][run_text]).labels)
        right.append(100 * (labels == test.truth).mean())
    assert row.protocols["frozen_known"].ca.value == pytest.approx(np.mean(right), abs=1e-3)
    assert len({store.result(job)["accuracy"] for job in row.jobs.scores["frozen_known"]["ca"].values()}) > 1


def images_of(trained) -> torch.Tensor:
    return data.load(trained.dataset, Path(), torch.device("cpu"))["test"].images


def test_a_baked_draw_is_the_same_in_blocks_of_another_size(row, folder):
    store = Store(folder / "store")
    job = row.jobs.scores["frozen_known"]["ca"]["0/0/2"]
    spec = parse_spec(store.result(job)).model_copy(update={"block": 7})
    smaller = Job("judge-other", "", spec, store.result(job)["digest"])
    workspace = Workspace(Registry(), store, folder, Hardware("cpu", "float32"))
    blocks = [safetensors.numpy.load(run_block(smaller, workspace, number).content)["labels"] for number in (2, 0, 1)]
    assert np.array_equal(np.concatenate([*blocks[1:], blocks[0]], 1), read_labels(store, job).labels)


def test_the_images_of_a_baked_draw_are_judged_again_on_that_draw(row, folder):
    store = Store(folder / "store")
    job = row.jobs.scores["frozen_known"]["FGSM"]["0/0/3"]
    rejudging = plan_rejudging(store, Registry(), job, device="cpu")
    assert rejudging.judged.id == job, "the very job of the run"
    fresh = plan_rejudging(store, Registry(), job, point={"lambda_n": 1.0}, draws=5, device="cpu")
    assert rejudge(fresh, store, Registry(), folder).labels.labels.shape == (5, 20)
    surrogate = row.jobs.scores["surrogate"]["FGSM"]["0/0/3"]
    again = plan_rejudging(store, Registry(), surrogate, draws=5, device="cpu")
    assert again.judged.spec.bake is None  # type: ignore[union-attr]


class Forgetful(rs.Defense):
    """Noise on the image that no layer can keep, with no word of it."""

    def build(self, architecture, shape, num_classes):
        from robuststack.layers.condition import Condition, attach

        class Noisy(torch.nn.Module):
            def __init__(self, network, condition) -> None:
                super().__init__()
                self.network, self.condition = network, condition

            def forward(self, x):
                return self.network(x + self.condition.read("noise") * torch.randn_like(x[:1]))

        condition = Condition("noise")
        return attach(Noisy(architecture.build(shape, num_classes), condition), condition)

    def setting(self, point):
        return rs.Setting({"noise": 0.3}, stochastic=True)

    def training_step(self, step):
        step.backward(torch.nn.functional.cross_entropy(self.view(step.model, self.setting({}))(step.x), step.y))


class Plugin:
    @hookimpl
    def register_defense(self, register) -> None:
        register("forgetful", f"{__name__}:Forgetful")


def test_noise_that_cannot_be_baked_is_found_before_any_compute(tmp_path):
    registry = Registry([*installed_sources(), PluginSource("forgetful", "here", "1", Plugin)])
    with pytest.raises(ModelError) as caught:
        run(tmp_path, "defenses=forgetful", registry=registry)
    assert str(caught.value) == (
        "'resnet8' under defense 'forgetful' cannot be baked, as protocols surrogate and frozen_known need: two passes"
        " differ after each layer's freeze(); the layer that still draws noise needs a method freeze() that keeps one draw."
        " Or set `freezable = False` in the defense, or leave those protocols out"
    )
    assert not any((tmp_path / "store").glob("*/model.safetensors"))
    row = run(tmp_path, "defenses=forgetful", "evaluate={protocols: [adaptive, off], draws: 2}", registry=registry)
    assert list(row.scores) == ["adaptive", "off"]
    # A finished model is looked at too.
    with pytest.raises(ModelError, match="cannot be baked"):
        run(tmp_path, "defenses=forgetful", registry=registry)
