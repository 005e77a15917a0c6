"""Folding batch norm changes what an attack costs, and nothing that it sees."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import robuststack as rs
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.build import network
from robuststack.layers.condition import View
from robuststack.layers.folded_layers import FoldedConv2d, FoldedNoisyConv2d
from robuststack.layers.folding import FoldedView, Folding
from robuststack.layers.noise import noisy_layers
from robuststack.plugin.registry import Registry

REGISTRY = Registry()
SHAPE, CLASSES = (3, 8, 8), 5
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("none", {}, {}),
    ("pni", {"granularity": "layer"}, {"lambda_n": 1.0}),
    ("pni", {"granularity": "channel"}, {"lambda_n": 0.7}),
    ("pni", {"granularity": "element"}, {"lambda_n": 1.5}),
    ("float", {}, {"lambda_n": 0.0}),
    ("float", {}, {"lambda_n": 0.7}),
    ("floats", {}, {"lambda_n": 1.0, "width": 0.5}),
    ("floats", {}, {"lambda_n": 1.0, "width": 1.0}),
    ("floats_sparse", {}, {"lambda_n": 1.0}),
    ("oat", {}, {"lambda": 0.2}),
    ("oats", {}, {"lambda": 1.0, "width": 0.5}),
    ("advprop", {}, {"lambda": 1.0}),
]
NETWORKS = [("resnet8", {"width": 8}), ("resnet18", {}), ("wrn-16-1", {}), ("torchvision:densenet121", {})]


@pytest.fixture
def x() -> Tensor:
    return torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1))


def trained(
    defense: rs.Defense, architecture: str = "resnet8", shape: tuple[int, int, int] = SHAPE, **options: Any
) -> nn.Module:
    """A network whose norms are far from the identity, in eval mode."""
    torch.manual_seed(0)
    model = network(defense, REGISTRY.create("architecture", architecture, options), shape, CLASSES)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2.0)
    return model.eval()


def gradient(view: View, x: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and input gradient under one seed of the noise."""
    torch.manual_seed(seed)
    point = x.clone().requires_grad_()
    logits = view(point)
    (slope,) = torch.autograd.grad(logits.logsumexp(1).sum(), point)
    return logits.detach(), slope


def layers_of(view: View) -> list[FoldedConv2d]:
    assert isinstance(view, FoldedView)
    return list(view.layers)


@pytest.mark.parametrize(("name", "options", "point"), CASES, ids=lambda case: str(case))
def test_with_the_same_noise_a_folded_network_is_the_plain_one(name, options, point, x):
    defense: rs.Defense = REGISTRY.create("defense", name, options)
    view = defense.view(trained(defense, width=8), defense.setting(defense.whole_point(point)))
    with frozen_eval(view):
        folded = Folding().of(view, x)
        assert len(layers_of(folded)) == 7, "the stem and two convolutions in each of three blocks"
        for plain, other in zip(gradient(view, x), gradient(folded, x), strict=True):
            torch.testing.assert_close(plain, other, rtol=1e-3, atol=1e-4)
        assert folded.stochastic == view.stochastic


@pytest.mark.parametrize(("architecture", "options"), NETWORKS, ids=lambda case: str(case))
def test_every_architecture(architecture, options):
    defense: rs.Defense = REGISTRY.create("defense", "float")
    x = torch.rand(2, 3, 32, 32)
    view = defense.view(trained(defense, architecture, (3, 32, 32), **options), defense.reference_setting())
    with frozen_eval(view):
        folded = Folding().of(view, x)
        convolutions = sum(isinstance(module, nn.Conv2d) for module in view.modules())
        # Where the norm comes first, as in these two, only some convolutions have one behind them.
        least = 0.3 if architecture.startswith(("wrn", "torchvision")) else 1.0
        assert len(layers_of(folded)) >= least * convolutions
        torch.testing.assert_close(gradient(view, x)[0], gradient(folded, x)[0], rtol=1e-3, atol=1e-3)


def test_naive_folding_would_be_another_noise():
    """The std of the folded weight is not that of the weight times the norm's scale."""
    defense: rs.Defense = REGISTRY.create("defense", "pni")
    model = trained(defense, width=8)
    x = torch.rand(2, *SHAPE)
    view = defense.view(model, defense.setting({"lambda_n": 1.0}))
    with frozen_eval(view):
        ratios = []
        for layer in layers_of(Folding().of(view, x)):
            assert isinstance(layer, FoldedNoisyConv2d)
            ratios.append(float((layer.conv.alpha * layer.weight.std() / layer.sigma).log().abs().max().exp()))
    assert max(ratios) > 1.2


def test_the_model_is_untouched_outside_of_a_pass_and_after_an_error(x):
    defense: rs.Defense = REGISTRY.create("defense", "float")
    model = trained(defense, width=8)
    view = defense.view(model, defense.setting(defense.whole_point({})))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with frozen_eval(view):
        folded = Folding().of(view, x)
        before = gradient(view, x)[0]
        folded(x)
        with pytest.raises(RuntimeError):
            folded(x[:, :1])
        assert not any("forward" in module.__dict__ for module in model.modules())
        torch.testing.assert_close(gradient(view, x)[0], before, rtol=0, atol=0)
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_new_weights_are_taken_over(x):
    defense: rs.Defense = REGISTRY.create("defense", "pni")
    model = trained(defense, width=8)
    view, folding = defense.view(model, defense.setting({"lambda_n": 1.0})), Folding()
    with frozen_eval(view):
        folding.of(view, x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3)
        for _, layer in noisy_layers(model):
            layer.alpha.mul_(0.5)
    with frozen_eval(view):
        torch.testing.assert_close(gradient(view, x)[0], gradient(folding.of(view, x), x)[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "point"), [("advprop", {"lambda": 1.0}), ("float", {"lambda_n": 0.7})])
def test_under_autocast_weights_are_cast_once_a_fold_to_the_same_numbers(name, point, x, monkeypatch):
    defense: rs.Defense = REGISTRY.create("defense", name)
    model = trained(defense, width=8)
    view, folding = defense.view(model, defense.setting(defense.whole_point(point))), Folding()
    casts = []

    class Counted(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            casts.append(func is torch.ops.aten._to_copy.default)
            return func(*args, **(kwargs or {}))

    def twice() -> tuple[Tensor, Tensor, int, int]:
        counts = []
        with frozen_eval(view), torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            folded = folding.of(view, x)
            for _ in range(2):
                with Counted():
                    logits, slope = gradient(folded, x)
                counts.append(sum(casts))
                casts.clear()
        return logits, slope, *counts

    logits, _, first, second = twice()
    assert second < first
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    changed = twice()
    assert not torch.equal(changed[0], logits), "new weights are cast anew"
    monkeypatch.setattr(FoldedConv2d, "cast", lambda self, name, x: getattr(self, name))
    in_every_pass = twice()
    assert torch.equal(in_every_pass[0], changed[0])
    assert torch.equal(in_every_pass[1], changed[1])
    assert in_every_pass[2] == in_every_pass[3] == first


def test_the_default_generator_is_left_as_it_was(x):
    defense: rs.Defense = REGISTRY.create("defense", "float")
    view = defense.view(trained(defense, width=8), defense.reference_setting())
    torch.manual_seed(7)
    with frozen_eval(view):
        Folding().of(view, x)
    after = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(after, torch.rand(3))


class Shared(nn.Module):
    """One convolution in front of two norms, and one norm behind two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.norm, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.one(x)
        return (self.norm(h) + self.other(h) + self.norm(self.two(x))).mean((2, 3))


class Peeking(nn.Module):
    """Reads a convolution's output where autograd does not see it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)
        self.norm.running_mean.fill_(2.0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        return self.norm(h).mean((2, 3)) + h.detach().mean((2, 3))


class Own(nn.Conv2d):
    """A convolution with a forward pass of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight.sign())


@pytest.mark.parametrize(
    "model",
    [
        Shared(),
        Peeking(),
        nn.Sequential(Own(3, 3, 1), nn.BatchNorm2d(3), nn.Flatten()),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten()),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3), nn.Flatten()),
        nn.Flatten(),
    ],
    ids=["shared", "peeking", "own forward", "batch statistics", "relu between", "no parameters"],
)
def test_what_is_no_pair_is_left_alone(model, x):
    view = View(model.eval())
    with frozen_eval(view):
        assert Folding().of(view, x) is view


def test_a_norm_that_samples_choose_is_left_alone(x):
    defense: rs.Defense = REGISTRY.create("defense", "advprop")
    for values in ({"branch": torch.tensor([True, False] * 3)}, {"split": 3}):
        view = View(trained(defense, width=8), values)
        with frozen_eval(view):
            assert Folding().of(view, x) is view


def test_dropped_samples_keep_what_is_theirs(x):
    defense: rs.Defense = REGISTRY.create("defense", "oat", {"dim": 1})
    codes = torch.linspace(0, 1, 6)[:, None]
    view = View(trained(defense, width=8), {"branch": 1, "code": codes})
    left = torch.tensor([4, 1])
    with frozen_eval(view):
        folded = Folding().of(view, x)
        torch.testing.assert_close(folded.subset(left)(x[left]), view(x)[left], rtol=1e-3, atol=1e-4)
