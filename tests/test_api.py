"""The Python interface: a trained model at any operating point."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import robuststack as rs
from robuststack.errors import StoreError
from robuststack.leaderboard.board_labels import read_labels
from robuststack.plugin.registry import Registry
from robuststack.running.store import Store
from trained import Trained


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    options = {"images": 600, "test_images": 200, "size": 8, "classes": 4, "nonrobust_strength": 0.05, "noise": 0.1}
    data = Registry().create("dataset", "tradeoff", options).load(None)
    return torch.from_numpy(data["test"].images)


def test_a_loaded_model_predicts_what_the_leaderboard_scored(trained: Trained, images: torch.Tensor) -> None:
    model = rs.load_model(trained.job("oat"), store=trained.store)
    row = next(row for row in trained.result.rows if row.defense == "oat" and row.point["lambda"] == 0)
    options = {"images": 600, "test_images": 200, "size": 8, "classes": 4, "nonrobust_strength": 0.05, "noise": 0.1}
    labels = Registry().create("dataset", "tradeoff", options).load(None)["test"].labels
    right = model.at(lambda_=0.0)(images).argmax(1).numpy() == labels
    scored = read_labels(Store(trained.store), row.jobs.scores["adaptive"]["ca"]["0/0"]).correct
    assert np.array_equal(right, scored[0])


def test_points_of_one_model_share_its_weights_and_do_not_disturb_each_other(
    trained: Trained, images: torch.Tensor
) -> None:
    model = rs.load_model(trained.job("float"), store=trained.store)
    clean, noisy = model.at(lambda_n=0.0), model.at(lambda_n=1.0)
    before = clean(images)
    assert not torch.equal(noisy(images), noisy(images))
    assert torch.equal(clean(images), before)
    assert {id(parameter) for parameter in clean.parameters()} == {id(parameter) for parameter in noisy.parameters()}


def test_a_frozen_point_is_deterministic_and_owns_its_weights(trained: Trained, images: torch.Tensor) -> None:
    model = rs.load_model(trained.job("float"), store=trained.store)
    frozen = model.at(lambda_n=1.0, frozen=True)
    assert torch.equal(frozen(images), frozen(images))
    assert not {parameter.data_ptr() for parameter in frozen.parameters()} & {
        parameter.data_ptr() for parameter in model.model.parameters()
    }


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"lambda": 0.2}, r"float: unknown key 'lambda': did you mean 'lambda_n' or 'lambda_th'\?"),
        ({"lambda_n": 2.0}, "float: lambda_n: must be less than or equal to 1, not 2.0"),
        ({"lambda_n": "high"}, "float: lambda_n: must be a valid number, not 'high'"),
    ],
)
def test_a_point_that_the_defense_does_not_have_is_refused(trained: Trained, knobs: dict, message: str) -> None:
    with pytest.raises(rs.RobustStackError, match=message):
        rs.load_model(trained.job("float"), store=trained.store).at(**knobs)


def test_only_train_jobs_hold_models(trained: Trained) -> None:
    measure = next(job.id for job in trained.result.plan.jobs if job.kind == "measure")
    with pytest.raises(rs.RobustStackError, match=r"is a job of kind measure; name a train job$"):
        rs.load_model(measure, store=trained.store)
    with pytest.raises(StoreError, match="has no finished job train-nothing"):
        rs.load_model("train-nothing", store=trained.store)


def test_a_foreign_file_in_the_place_of_a_checkpoint_is_refused(trained: Trained, tmp_path) -> None:
    import shutil

    shutil.copytree(trained.store, tmp_path / "store")
    job = trained.job("none")
    (tmp_path / "store" / "train" / job / "model.safetensors").write_bytes(b"<html>404</html>")
    with pytest.raises(StoreError, match="truncated or not the file that this job wrote"):
        rs.load_model(job, store=tmp_path / "store")


def test_the_table_can_be_had_in_every_format(trained: Trained) -> None:
    assert "oat dim=4" in trained.result.table("github")
    assert r"\begin{tabular}" in trained.result.table("latex")
