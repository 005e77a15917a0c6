"""A user's architecture that shares weights, trained by defenses that rewrite it: the weights of a plain loop, still shared,
and the figures of the model that comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from tying import Tied, TiedArchitecture, still_tied

import robuststack as rs
from referee import DATASET, figures, split
from robuststack.engine.data import Data, training_batches
from robuststack.engine.random_streams import seeded
from robuststack.plugin.dataset import Augmentation
from robuststack.plugin.registry import Registry
from robuststack.suite.single_model import component_of

RECIPE = {"epochs": 1, "batch_size": 20, "lr": 0.05, "schedule": "constant", "momentum": 0.9, "weight_decay": 5e-4}


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    made.add("tied", TiedArchitecture)
    return made


def trained(registry: Registry, here: Path, defense: dict[str, Any]) -> tuple[Any, Any]:
    """The row at the last point of the defense, and the model from the store."""
    result = rs.run(
        {
            "name": "tied", "datasets": component_of("--dataset", DATASET), "architectures": "tied", "defenses": defense,
            "train": {**RECIPE, "attack": {"name": "pgd", "options": {"steps": 2}}}, "attacks": "fgsm",
            "threat": {"eps": 0.1}, "evaluate": {"draws": 2}, "measure": {"latency": False}, "precision": "float32",
        },
        store=here / "store", leaderboard=None, device="cpu", registry=registry,
    )  # fmt: skip
    assert not result.failed
    row = result.rows[-1]
    return row, rs.load_model(row.jobs.train[0], store=here / "store", registry=registry)


def plain_loop() -> nn.Module:
    """The network trained on clean images, as a script would."""
    with seeded(0, "initialisation"):
        model = Tied()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    model.train()
    for x, y in training_batches(Data(*split("train")), 20, Augmentation(), seed=0, epoch=0):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


def test_shared_weights_are_trained_as_by_a_plain_loop(registry: Registry, here: Path) -> None:
    row, back = trained(registry, here, {"name": "pgd_at", "options": {"lambda": 0}})
    expected = plain_loop()
    assert still_tied(back.model)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(back.model.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    assert (row.ca.value, row.ra["FGSM"].value) == pytest.approx(figures(expected), abs=1e-3)


NOISY = {
    "pgd_at": ({"name": "pgd_at"}, {}),
    "pni": ({"name": "pni", "options": {"warmup_epochs": 0}}, {}),
    "float": ({"name": "float", "points": [{"lambda_n": 1}, {"lambda_n": 0}]}, {"lambda_n": 0}),
}
"""Defense, and the point of its last row."""


@pytest.mark.parametrize("name", NOISY)
def test_what_is_shared_stays_shared_under_a_defense(name: str, registry: Registry, here: Path) -> None:
    defense, point = NOISY[name]
    row, back = trained(registry, here, defense)
    assert still_tied(back.model)
    kinds = [type(layer).__name__ for layer in back.model.get_submodule("block").modules()]
    assert max(map(kinds.count, ("NoisyConv2d", "DualNorm"))) <= 1, "what has two names is rewritten once"
    assert all(bool(torch.isfinite(value).all()) for value in back.model.state_dict().values())
    if not row.stochastic:
        assert (row.ca.value, row.ra["FGSM"].value) == pytest.approx(figures(back.at(**point)), abs=1e-3)
