"""Costs: multiply-accumulates to the last one, and what a measurement reports."""

from __future__ import annotations

import time
from collections.abc import Callable

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


class Applied(nn.Module):
    """A network of 12 pixels that is one expression of them, `[1, 12]`, and of tensors."""

    def __init__(self, expression: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.expression = expression

    def forward(self, x: Tensor) -> Tensor:
        return self.expression(x.flatten(1))


EYE = torch.eye(12)
BILINEAR = nn.Bilinear(12, 12, 5)
PRODUCTS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "bilinear": (lambda x: BILINEAR(x, x), 5 * 12 * 12),
    "addbmm": (lambda x: torch.addbmm(torch.ones(1, 4), torch.stack([x, x]), torch.ones(2, 12, 4)), 2 * 12 * 4),
    "dot": (lambda x: torch.dot(x[0], x[0]), 12),
    "vdot": (lambda x: torch.vdot(x[0], x[0]), 12),
    "few distances": (lambda x: torch.cdist(x, torch.ones(5, 12)), 5 * 12),
    "many distances": (lambda x: torch.cdist(x, torch.ones(50, 12)), 50 * 12),
    "distances without products": (lambda x: torch.cdist(x, torch.ones(5, 12), p=1), 0),
    "sparse mm": (lambda x: torch.sparse.mm(EYE.to_sparse(), x.t().repeat(1, 3)), 12 * 3),
    "sparse @": (lambda x: EYE.to_sparse() @ x.t().repeat(1, 3), 12 * 3),
    "sparse rows": (lambda x: EYE.to_sparse_csr() @ x.t(), 12),
    "sparse vector": (lambda x: EYE.to_sparse() @ x[0], 12),
    "sparse weights": (lambda x: nn.functional.linear(x, EYE.to_sparse_csr()), 12),
    "dense": (lambda x: torch.addmm(torch.ones(4), x, torch.ones(12, 4)) @ torch.ones(4, 3), 12 * 4 + 4 * 3),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize(("expression", "count"), PRODUCTS.values(), ids=PRODUCTS)
def test_products_are_counted_by_hand(expression, count):
    assert macs(Applied(expression), (3, 2, 2)) == count


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
@pytest.mark.parametrize(
    ("layer", "count"),
    [
        (nn.LSTM(3, 4), 4 * 4 * (4 * 3 + 4 * 4)),
        (nn.GRU(3, 4, bidirectional=True), 4 * 2 * 3 * (4 * 3 + 4 * 4)),
        (nn.LSTMCell(3, 4), 4 * 4 * (4 * 3 + 4 * 4)),
        (nn.GRUCell(3, 4), 4 * 3 * (4 * 3 + 4 * 4)),
        (nn.RNNCell(3, 4), 4 * (4 * 3 + 4 * 4)),
    ],
    ids=["lstm", "gru", "lstm cell", "gru cell", "cell"],
)
def test_quantised_recurrent_layers_are_counted(layer, count, dtype):
    network = nn.ModuleDict({"layer": layer})
    quantised = torch.ao.quantization.quantize_dynamic(network, {type(layer)}, dtype=dtype)["layer"]
    applied = Applied(lambda x: quantised(x.reshape(4, 1, 3) if isinstance(layer, nn.RNNBase) else x.reshape(4, 3))[0])
    assert type(quantised) is not type(layer)
    assert macs(applied, (3, 2, 2)) == count


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("layer", "count"),
    [
        (nn.Conv2d(2, 4, 3, padding=1, groups=2), 16 * 4 * 9),
        (nn.ConvTranspose2d(2, 4, 2, stride=2), 16 * 2 * 4 * 4),
    ],
    ids=["convolution", "transposed"],
)
def test_quantised_convolutions_are_counted(layer, count):
    quantization = torch.ao.quantization
    network = nn.Sequential(quantization.QuantStub(), layer, quantization.DeQuantStub()).eval()
    assert macs(network, (2, 4, 4)) == count
    network.qconfig = quantization.QConfig(
        quantization.default_observer, quantization.default_weight_observer.with_args(dtype=torch.qint8)
    )
    quantization.prepare(network, inplace=True)
    network(torch.rand(1, 2, 4, 4))
    assert macs(quantization.convert(network), (2, 4, 4)) == count
