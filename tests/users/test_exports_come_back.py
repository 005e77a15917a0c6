"""What was trained, exported and loaded again has the figures that it had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.engine.export import export
from robuststack.errors import SuiteError
from robuststack.plugin.registry import Registry

DATA = {"name": "tradeoff", "options": {"images": 200, "test_images": 60, "size": 8, "classes": 3}}
OVERRIDES = ["measure.latency=false", "precision=float32"]


class Keyed(nn.Module):
    """Shuffles pixels by a secret order, which is drawn when the network is built and is no part of its state."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.order = torch.randperm(64)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.flatten(2)[:, :, self.order].view_as(x))


class KeyedDefense(rs.Defense):
    """Plain training behind a secret order of pixels."""

    def build(self, architecture: Any, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return Keyed(architecture.build(shape, num_classes))

    def training_step(self, step: Any) -> None:
        step.backward(nn.functional.cross_entropy(step.model(step.x), step.y))


def trained(registry: Registry, network: dict[str, Any], defense: str, seeds: list[int]) -> rs.Result:
    suite = {
        "name": "k", "datasets": DATA, "architectures": network, "defenses": [defense], "attacks": ["fgsm"],
        "train": {"epochs": 4, "batch_size": 32, "lr": 0.05}, "seeds": seeds, "threat": {"eps": 0.01},
    }  # fmt: skip
    return rs.run(suite, leaderboard=None, device="cpu", overrides=OVERRIDES, registry=registry)


def loaded(registry: Registry, path: str, **more: Any) -> float:
    data = "tradeoff images=200 test_images=60 size=8 classes=3"
    result = rs.evaluate(
        load=path,
        dataset=data,
        attacks=["fgsm"],
        eps=0.01,
        device="cpu",
        overrides=OVERRIDES,
        registry=registry,
        **more,
    )
    return result.rows[0].ca.value


def test_what_the_network_draws_when_it_is_built_is_drawn_as_in_training(here: Path) -> None:
    registry = Registry()
    registry.add("keyed", KeyedDefense)
    result = trained(registry, {"name": "resnet8", "options": {"width": 4}}, "keyed", [0, 1])
    figures = result.rows[0].ca.seeds
    assert figures is not None
    for job in result.plan.jobs:
        if job.kind == "train":
            model = rs.load_model(job.id, registry=registry)
            path = f"k{model.spec.seed}.safetensors"
            Path(path).write_bytes(export(model, model.point(), "safetensors"))
            assert loaded(registry, path) == pytest.approx(figures[f"{model.spec.seed}/0"])


def test_a_defense_of_the_running_program_runs_again_on_its_store(here: Path) -> None:
    """Nothing says that the class is the one of the first time, so its jobs run again."""
    registry = Registry()
    registry.add("keyed", KeyedDefense)
    first, again = (trained(registry, {"name": "resnet8", "options": {"width": 4}}, "keyed", [0]) for _ in range(2))
    assert again.rows[0].ca.value == first.rows[0].ca.value
    assert again.rows[0].parameters == first.rows[0].parameters


def test_weights_are_not_scored_in_a_network_that_the_file_does_not_name(here: Path) -> None:
    registry = Registry()
    silu = {"name": "timm:resnet10t", "options": {"arguments": {"act_layer": "silu"}}}
    result = trained(registry, silu, "none", [0])
    job = next(job for job in result.plan.jobs if job.kind == "train")
    model = rs.load_model(job.id, registry=registry)
    Path("t.safetensors").write_bytes(export(model, model.point(), "safetensors"))
    assert loaded(registry, "t.safetensors") == pytest.approx(result.rows[0].ca.value)
    with pytest.raises(
        SuiteError, match=r"t\.safetensors says that its weights are those of .timm:resnet10t arguments="
    ) as told:
        loaded(registry, "t.safetensors", architecture="timm:resnet10t")
    assert "\n" not in str(told.value)
