"""Costs: multiply-accumulates to the last one, and what a measurement reports."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.engine.measure import latency, macs, measure
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.plugin.registry import Registry

REGISTRY = Registry()


@pytest.fixture(autouse=True)
def without_initialisation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting needs no good weights, and drawing them takes longer."""
    monkeypatch.setattr(nn.init, "kaiming_normal_", lambda tensor, **_: tensor)
    monkeypatch.setattr(nn.init, "kaiming_uniform_", lambda tensor, **_: tensor)


def build(name: str, size: int, defense: str = "none", **options: object) -> tuple[rs.Defense, nn.Module]:
    chosen = REGISTRY.create("defense", defense, options)
    return chosen, chosen.build(REGISTRY.create("architecture", name), (3, size, size), 10)


@pytest.mark.parametrize(
    ("architecture", "size", "expected"),
    [
        ("resnet34", 32, 1_159_402_496),
        ("wrn40_2", 96, 2_948_384_000),
        ("resnet20", 32, 40_551_040),
        ("wrn16_8", 32, 1_548_145_664),
    ],
)
def test_convolutions_and_the_classifier_are_counted_exactly(architecture, size, expected):
    _, model = build(architecture, size)
    assert macs(model, (3, size, size)) == expected


def test_film_layers_are_counted():
    defense, model = build("resnet34", 32, "oat", dim=1)
    assert macs(defense.view(model, defense.setting({"lambda": 1.0})), (3, 32, 32)) == 1_169_493_888


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_noise_and_dual_batch_norm_add_no_multiplication(noise):
    defense, model = build("resnet20", 32, "float")
    setting = defense.setting({"lambda_n": noise, "lambda_th": 0.0})
    assert macs(defense.view(model, setting), (3, 32, 32)) == 40_551_040


def test_counting_leaves_the_model_as_it_was():
    _, model = build("resnet8", 8)
    model.train().requires_grad_(False)
    for parameter in model.parameters():
        parameter.fill_(0.1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    macs(model, (3, 8, 8))
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("timed", "batch", "keys"), [(True, 4, ["1", "4"]), (True, 1, ["1"]), (False, 4, [])])
def test_a_measurement_reports_parameters_macs_and_latencies(timed, batch, keys):
    defense, model = build("resnet8", 8)
    options = {"latency": timed, "batch_size": batch, "repeats": 3, "warmup": 1}
    runtime = Runtime(Hardware("cpu", "float32"))
    costs = measure(defense, model, rs.Setting(), (3, 8, 8), runtime, options)
    assert costs["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert costs["macs"] == macs(model, (3, 8, 8))
    assert list(costs["latency_ms"]) == keys
    assert all(0 < times["low"] <= times["median"] <= times["high"] for times in costs["latency_ms"].values())
    assert all("relative" not in times for times in costs["latency_ms"].values())


class Slow(nn.Module):
    """Takes about as long as it is told."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return x


def test_latency_is_held_against_the_plain_network_in_the_same_process():
    timed = latency(Slow(0.02), Slow(0.005), (3, 8, 8), 2, 5, 1, torch.device("cpu"))
    assert 2 < timed["relative"] < 5
    assert timed["median"] >= 20
