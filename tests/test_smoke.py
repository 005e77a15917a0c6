"""Smoke runs: every suite goes through the real code, small, on made-up images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import robuststack as rs
from robuststack.hardware import Hardware
from robuststack.leaderboard.board_file import read_board
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite
from robuststack.suite.smoke import IMAGES, shrunk

SUITES = Path(__file__).parents[1] / "suites"
PAPER = sorted((SUITES / "paper").glob("*.yaml"))
FIGURES = {"table1", *(f"fig{number:02}" for number in (1, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))}
SUITE = """
title: Two defenses
datasets: {name: cifar10, train: {epochs: 3, lr: 0.05}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 90, batch_size: 256, milestones: [3], schedule: steps}
defenses:
  - {name: float, points: {lambda_n: [0, 0.2, 0.7, 1], lambda_th: [0, 0.5]}, train: {epochs: 4, weight_decay: 0}}
  - {name: pgd_at, sweep: {lambda: [0, 0.2, 0.7, 1]}}
attacks:
  - {name: pgd, sweep: {steps: [7, 20]}}
  - {name: pgd, options: {steps: 50, restarts: 3}}
seeds: {train: [3, 4], attack: [5, 6]}
evaluate: {draws: 50, limit: 4000}
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry()


@pytest.fixture
def plan(tmp_path: Path, registry: Registry) -> Plan:
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE)
    return make_plan(shrunk(load_suite(path), registry), registry, Hardware("cpu", "float32"))


def specs(plan: Plan, kind: str) -> list[Any]:
    return [job.spec for job in plan.jobs if job.kind == kind]


def test_one_epoch_of_one_batch_with_one_seed(plan: Plan) -> None:
    trained = specs(plan, "train")
    assert len(trained) == 3  # FLOAT, and the ends of PGD-AT's sweep.
    for spec in trained:
        assert (spec.recipe.epochs, spec.recipe.batch_size, spec.seed) == (1, IMAGES, 3)
        assert spec.attack.options["steps"] == 2
        assert spec.model.dataset.stand_in == IMAGES
    assert {spec.seed for spec in specs(plan, "attack")} == {5}


def test_what_a_dataset_and_a_defense_say_of_the_recipe_still_counts(plan: Plan) -> None:
    recipes = {spec.model.defense.name: spec.recipe for spec in specs(plan, "train")}
    assert (recipes["float"].lr, recipes["float"].weight_decay) == (0.05, 0)
    assert recipes["pgd_at"].weight_decay == 5e-4


def test_two_points_two_steps_two_draws(plan: Plan) -> None:
    points = [row.facts["point"] for row in plan.rows if row.facts["defense"] == "float"]
    assert points == [{"lambda_n": 0.0, "lambda_th": 0.0}, {"lambda_n": 1.0, "lambda_th": 0.5}]
    assert set(plan.attacks) == {"PGD-2"}  # Attacks that differ in their steps alone are one.
    assert plan.attacks["PGD-2"]["options"] == {
        "steps": 2, "step": "relative", "restarts": 1, "draws": 2, "average": "loss", "early_stop": True,
    }  # fmt: skip
    assert {spec.draws for spec in specs(plan, "judge")} <= {1, 2}
    assert {spec.block for spec in [*specs(plan, "attack"), *specs(plan, "judge")]} == {IMAGES}


def test_networks_are_narrow_and_as_deep_as_before(registry: Registry) -> None:
    for name, path in (("resnet34", "fig01"), ("wrn40_2", "table1")):
        plan = make_plan(
            shrunk(load_suite(SUITES / "paper" / f"{path}.yaml"), registry), registry, Hardware("cpu", "float32")
        )
        whole = registry.create("architecture", name).resolved()["options"]
        built = (spec.model.architecture for spec in specs(plan, "train"))
        small = next(component.options for component in built if component.name == name)
        assert small["width"] == whole["width"] / 4
        assert {**small, "width": whole["width"]} == whole


def test_it_runs_without_the_data_and_leaves_the_real_leaderboard_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SUITE)
    (tmp_path / "board").mkdir()
    result = rs.run(path, store=tmp_path / "store", leaderboard=tmp_path / "board", smoke=True)
    assert len(result.rows) == 4
    assert {entry.name for entry in (tmp_path / "board").iterdir()} == {
        "mine.smoke.json",
        "mine.smoke.md",
        "mine.smoke.labels.safetensors",
    }
    assert {row.n for row in result.rows} == {IMAGES}
    # Nobody takes its figures for those of the data.
    assert {row.dataset_options["stand_in"] for row in result.rows} == {IMAGES}
    assert all(f" stand_in={IMAGES}/" in row.label for row in result.rows)
    written = (tmp_path / "board" / "mine.smoke.md").read_text()
    assert written.startswith("# Two defenses (smoke run)\n")
    assert f" stand_in={IMAGES}, " in written
    assert "A smoke run, on a few made-up images" in written


def test_a_stand_in_is_of_the_datasets_kind(registry: Registry) -> None:
    cifar = registry.create("dataset", "cifar10")
    for images in cifar.stand_in(IMAGES).values():
        assert images.images.shape == (IMAGES, *cifar.shape)
        assert images.labels.max() < cifar.num_classes


def test_the_paper_suites_are_all_there() -> None:
    assert {path.stem for path in PAPER} == FIGURES


@pytest.mark.parametrize("path", sorted(SUITES.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_suite_is_valid_whole_and_shrunk(path: Path, registry: Registry) -> None:
    suite = load_suite(path)
    whole = make_plan(suite, registry, Hardware("cpu", "bf16"))
    small = make_plan(shrunk(suite, registry), registry, Hardware("cpu", "bf16"))
    assert 0 < len(small.rows) <= len(whole.rows)
    assert {row.facts["defense"] for row in small.rows} == {row.facts["defense"] for row in whole.rows}
    assert suite.description
    assert suite.title


def test_no_two_suites_have_the_same_title() -> None:
    titles = [load_suite(path).title for path in sorted(SUITES.rglob("*.yaml"))]
    assert len(set(titles)) == len(titles)


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper's figures are different views of the same models, also for processes that share the work."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "paper" / "store"


@pytest.mark.paper
@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_every_paper_suite_runs(path: Path, shared_store: Path, tmp_path: Path) -> None:
    result = rs.run(path, store=shared_store, leaderboard=tmp_path, smoke=True, wait=600)
    assert not result.failed
    assert len(result.rows) == len(result.plan.rows)
    board = read_board(tmp_path / f"{path.stem}.smoke.json")
    # A claim about a point between the ends has no rows in a smoke run.
    assert all(claim.ours for claim in board.claims) or path.stem == "fig06"
    assert len(list(tmp_path.glob("*.svg"))) == len(load_suite(path).figures)
