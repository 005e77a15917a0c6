"""Parameters that torch does not list."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import robuststack as rs
from robuststack.engine.live_network import live_network
from robuststack.engine.unlisted_parameters import undecided_constants, unlisted_parameters
from robuststack.leaderboard.columns import columns

quantization = torch.ao.quantization
GLOBAL = nn.Linear(2, 3)  # 9


def unlisted(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in unlisted_parameters(model))


class Ensemble(nn.Module):
    """A registered layer, others in a list that holds the first too, in a dictionary in it, and inside of a member."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 3)  # 9, of which torch knows.
        within = nn.Module()
        within.inner = [nn.Linear(3, 4)]  # 16, hidden in a registered module.
        self.within = within
        self.members = [self.head, nn.Linear(4, 5), {"last": nn.Linear(5, 6)}]  # 25 and 36.
        self.members[1].deeper = [nn.Linear(6, 7)]  # 49.
        self.again = (self.members[1],)


def test_parameters_in_lists_of_modules_are_counted_once() -> None:
    assert sum(parameter.numel() for parameter in unlisted_parameters(Ensemble())) == 16 + 25 + 36 + 49
    assert unlisted_parameters(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm2d(3))) == []


def test_zeros_in_a_list_of_modules_are_no_nonzero_parameters(tmp_path: Path) -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(12, 3)]
            nn.init.zeros_(self.layers[0].bias)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers[0](x.flatten(1))

    data = torch.rand(6, 3, 2, 2), torch.arange(6) % 3
    (row,) = rs.evaluate(Listed().eval(), data=data, attacks=["fgsm"], eps=0.1, store=tmp_path).rows
    assert (row.parameters, row.nonzero_parameters) == (39, 36)


@pytest.mark.filterwarnings("ignore")
def test_packed_weights_of_quantised_layers_are_counted() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(4, 5))
    quantised = torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8)
    assert sum(parameter.numel() for parameter in quantised.parameters()) == 2 * 9 + 2
    weight, bias = unlisted_parameters(quantised)
    assert (weight.shape, bias.shape) == ((5, 4), (5,))
    assert torch.allclose(weight, network[2].weight, atol=0.01), "values, of which some may be zero"


def closed(net: nn.Module) -> nn.Module:
    class Closed(nn.Module):
        def forward(self, x: Any) -> Any:
            return self.inner(x)

        def inner(self, x: Any) -> Any:
            return net(x)

    return Closed()


def calling(net: nn.Module) -> Callable[[Any], Any]:
    return lambda x: net(x)


def scaling(weight: nn.Parameter) -> Callable[[Any], Any]:
    return lambda x: x * weight


class Reading(nn.Module):
    def forward(self, x: Any) -> Any:
        return GLOBAL(x)


class Copying(nn.Module):
    """Its constructor reads a module that its `forward` does not."""

    def __init__(self) -> None:
        super().__init__()
        self.width = GLOBAL.out_features

    def forward(self, x: Any) -> Any:
        return x


def having(**attributes: Any) -> nn.Module:
    module = nn.Module()
    for name, value in attributes.items():
        object.__setattr__(module, name, value)
    return module


HIDDEN: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "a closure": (lambda: closed(nn.Linear(2, 3)), 9),
    "a global": (Reading, 9),
    "what only a constructor reads": (Copying, 0),
    "a function": (lambda: having(forward=calling(nn.Linear(2, 3))), 9),
    "a bound forward": (lambda: having(forward=nn.Linear(2, 3).forward), 9),
    "an object": (lambda: having(core=types.SimpleNamespace(net=nn.Linear(2, 3))), 9),
    "parameters in a list": (lambda: having(weights=[nn.Parameter(torch.ones(4, 5)), nn.Parameter(torch.ones(5))]), 25),
    "a parameter in an object": (lambda: having(core=types.SimpleNamespace(weight=nn.Parameter(torch.ones(4)))), 4),
    "a leaf with a gradient": (lambda: having(weights=[torch.ones(3, requires_grad=True), torch.ones(9)]), 3),
    "a function's own": (lambda: live_network(scaling(nn.Parameter(torch.ones(7))), ()), 7),
}


@pytest.mark.parametrize(("model", "count"), HIDDEN.values(), ids=HIDDEN)
def test_what_a_module_computes_with_is_counted_wherever_it_lies(model: Callable[[], nn.Module], count: int) -> None:
    assert unlisted(model()) == count


def test_what_a_function_lists_already_is_counted_once() -> None:
    model = live_network(Reading(), ())
    assert (sum(map(torch.numel, model.parameters())), unlisted(model)) == (0, 9)
    model = live_network(lambda x: GLOBAL(x), ())
    assert (sum(map(torch.numel, model.parameters())), unlisted(model)) == (9, 0)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module], **options: Any) -> None:
        super().__init__()
        self.layer = kind(8, 4, **options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
@pytest.mark.parametrize(
    ("layer", "options", "count"),
    [
        (nn.LSTM, {}, 4 * (4 * 8 + 4 * 4 + 2 * 4)),
        (nn.GRU, {"num_layers": 2, "bidirectional": True}, 2 * (3 * (4 * 8 + 4 * 4 + 8) + 3 * (4 * 8 + 4 * 4 + 8))),
        (nn.GRUCell, {}, 3 * (4 * 8 + 4 * 4 + 2 * 4)),
        (nn.LSTMCell, {}, 4 * (4 * 8 + 4 * 4 + 2 * 4)),
    ],
)
def test_packed_recurrent_layers_are_counted(layer: Any, options: Any, count: int, dtype: torch.dtype) -> None:
    network = Recurrent(layer, **options)
    assert sum(map(torch.numel, network.parameters())) == count
    assert unlisted(quantization.quantize_dynamic(network, {layer}, dtype=dtype)) == count


def static(*, fused: bool) -> nn.Module:
    """A convolution of 36 weights and 4 biases, a linear layer of 160 and 10; quantised."""
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 10)]
    network = nn.Sequential(quantization.QuantStub(), *layers, quantization.DeQuantStub()).eval()
    if fused:
        network = quantization.fuse_modules(network, [["1", "2"]])
    network.qconfig = quantization.get_default_qconfig(torch.backends.quantized.engine)  # type: ignore[assignment]
    quantization.prepare(network, inplace=True)
    network(torch.rand(2, 1, 4, 4))
    return quantization.convert(network, inplace=True)  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scripted", ["no", "scripted", "frozen"])
@pytest.mark.parametrize("fused", [False, True])
def test_packed_convolutions_are_counted_fused_and_in_torchscript(fused: bool, scripted: str) -> None:
    network = static(fused=fused)
    network = network if scripted == "no" else torch.jit.script(network)
    network = torch.jit.freeze(network) if scripted == "frozen" else network
    assert unlisted(network) == 36 + 4 + 160 + 10


class Normalised(nn.Module):
    """15 parameters of a layer, 6 of a norm; its mean of pixels is none."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((4,), 0.5))
        self.layer = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(torch.relu(self.layer(x - self.mean)))


@pytest.mark.filterwarnings("ignore")
def test_constants_of_frozen_torchscript_are_counted_without_buffers() -> None:
    scripted = torch.jit.script(Normalised().eval())
    assert unlisted(scripted) == 0, "torch lists its parameters"
    frozen = torch.jit.freeze(scripted)
    assert (sum(map(torch.numel, frozen.parameters())), unlisted(frozen)) == (0, 15 + 6)
    assert undecided_constants(frozen) == 4
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 5)).eval()
    quick = torch.jit.optimize_for_inference(torch.jit.script(network))
    assert unlisted(quick) == 2 * 9 + 2 + 8 * 5 + 5
    own = quick.forward
    vars(quick)["forward"] = lambda x: own(x.float())
    assert unlisted(quick) == 2 * 9 + 2 + 8 * 5 + 5, "what it does is its own, whatever stands in for its forward"


@pytest.mark.filterwarnings("ignore")
def test_constants_that_may_be_parameters_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.full((12,), 0.5))
            self.layer = nn.Linear(12, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.flatten(1) - self.mean)

    data = torch.rand(6, 3, 2, 2), torch.arange(6) % 3
    frozen = torch.jit.freeze(torch.jit.script(Centred().eval()))
    (row,) = rs.evaluate(frozen, data=data, attacks=["fgsm"], eps=0.1, store=tmp_path).rows
    assert row.parameters == 39
    (line,) = [record.getMessage() for record in caplog.records if "lower bound" in record.getMessage()]
    assert "12 more numbers of its frozen TorchScript" in line


class Elsewhere(nn.Module):
    """Computes in NumPy with a plain array: torch sees neither a weight nor a product."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(x.detach().flatten(1).numpy() @ self.weight)


def test_a_count_of_nothing_is_no_figure_in_tables_and_without_parameters_suspicious(tmp_path: Path) -> None:
    data = torch.rand(6, 3, 2, 2), torch.arange(6) % 3
    result = rs.evaluate(Elsewhere().eval(), data=data, attacks=["noise"], eps=0.1, store=tmp_path)
    (row,) = result.rows
    assert (row.parameters, row.macs) == (0, 0)
    (line,) = [line for line in result.suspicions if "lower bound" in line]
    assert "no parameter was found" in line
    shown = {column.name: column for column in columns([row], [], {})}
    for name in ("parameters", "MACs"):
        value = shown[name].value
        assert value is not None
        assert (shown[name].text(row), value(row)) == ("-", None)


class Choosing:
    """Each of its two points has a hidden layer of 39 parameters."""

    def at(self, width: float) -> nn.Module:
        net = nn.Linear(12, 3)
        return having(forward=calling(nn.Sequential(nn.Flatten(), net)))


def test_a_point_counts_its_hidden_parameters_and_no_others(tmp_path: Path) -> None:
    data = torch.rand(6, 3, 2, 2), torch.arange(6) % 3
    points = {"width": [0.5, 1.0]}
    result = rs.evaluate(Choosing(), data=data, points=points, attacks=["fgsm"], eps=0.1, store=tmp_path)
    assert [row.parameters for row in result.rows] == [39, 39]
