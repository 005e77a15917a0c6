"""Slimmable layers: each width is the network it would be on its own, out of one set of weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from robuststack.errors import PluginError
from robuststack.layers.branches import ADVERSARIAL, CLEAN
from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.dual_norm import DualNorm, dualise
from robuststack.layers.freezing import freeze
from robuststack.layers.noise import add_noise
from robuststack.layers.roles import mark, role_of
from robuststack.layers.slimmable import NoisySlimConv2d, SlimConv2d, SlimLinear, SwitchableBatchNorm2d, slim
from robuststack.plugin.registry import Registry

REGISTRY = Registry()
WIDTHS = (0.5, 1.0)


class Depthwise(nn.Module):
    """Biased, dilated, depthwise and reflecting convolutions; a linear layer on flattened pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, padding_mode="reflect")
        self.stem_norm = mark(nn.BatchNorm2d(width, eps=1e-3, momentum=0.3), "stem")
        self.depthwise = nn.Conv2d(width, 2 * width, 3, padding=2, dilation=2, groups=width)
        self.norm = mark(nn.BatchNorm2d(2 * width), "block")
        self.pointwise = nn.Conv2d(2 * width, width, 1)
        self.classifier = nn.Linear(width * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem_norm(self.stem(x)).relu()
        h = self.pointwise(self.norm(self.depthwise(h)).relu())
        return self.classifier(h.flatten(1))


def network(name: str, width: int) -> nn.Module:
    if name == "depthwise":
        return Depthwise(width)
    return REGISTRY.create("architecture", name, {"width": width}).build((3, 8, 8), 5)


def shaken(model: nn.Module) -> nn.Module:
    """With norms that are not at their start, so that no two features are alike by chance."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(value, 0.5, 1.5)
    return model


def slimmed(model: nn.Module, *fields: str) -> nn.Module:
    condition = Condition("width", *fields)
    return attach(slim(model, WIDTHS, condition), condition)


def at(model: nn.Module, width: float, **values: Any) -> View:
    return View(model, {"width": width, **values})


def half_of(slim_model: nn.Module, half: nn.Module) -> nn.Module:
    """The independent half-width network with the slices of the slim one."""
    full = slim_model.state_dict()
    state = {}
    for key, value in half.state_dict().items():
        module, _, name = key.rpartition(".")
        source = full.get(f"{module}.norms.0.{name}", full.get(key))
        state[key] = source[tuple(slice(size) for size in value.shape)].clone()
    half.load_state_dict(state)
    return half


@pytest.fixture
def x() -> Tensor:
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


NETWORKS = [("resnet8", 8), ("resnet18", 4), ("depthwise", 6)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "width"), NETWORKS)
def test_at_full_width_it_is_the_plain_network(name, width, training, x):
    torch.manual_seed(0)
    plain = shaken(network(name, width)).train(training)
    model = slimmed(copy.deepcopy(plain)).train(training)
    expected, actual = plain(x), at(model, 1.0)(x)
    assert torch.equal(actual, expected)
    expected.square().sum().backward()
    actual.square().sum().backward()
    own = dict(model.named_parameters())
    for path, parameter in plain.named_parameters():
        module, _, leaf = path.rpartition(".")
        counterpart = own.get(path, own.get(f"{module}.norms.1.{leaf}"))
        torch.testing.assert_close(counterpart.grad, parameter.grad, rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "width"), NETWORKS)
def test_at_half_width_it_is_an_independent_network_of_half_the_width(name, width, training, x):
    torch.manual_seed(0)
    model = slimmed(shaken(network(name, width)))
    if name != "depthwise":
        half = half_of(model, network(name, width // 2))
    else:
        # Flattened pixels: half the channels are the first half of the inputs.
        half = half_of(model, Depthwise(width // 2))
    model.train(training)
    half.train(training)
    expected, actual = half(x), at(model, 0.5)(x)
    torch.testing.assert_close(actual, expected)
    expected.square().sum().backward()
    actual.square().sum().backward()
    own = dict(model.named_parameters())
    for path, parameter in half.named_parameters():
        module, _, leaf = path.rpartition(".")
        counterpart = own.get(f"{module}.norms.0.{leaf}", own.get(path))
        inside = tuple(slice(size) for size in parameter.shape)
        torch.testing.assert_close(counterpart.grad[inside], parameter.grad)
        outside = counterpart.grad.clone()
        outside[inside] = 0
        assert not outside.any(), f"{path}: weights that did not run have no gradient"
    assert all(weight.grad is None for path, weight in own.items() if ".norms.1." in path)


def test_switching_widths_copies_no_weights(x):
    model = slimmed(network("resnet8", 8)).eval()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    sliced: list[bool] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            kernel = isinstance(out, Tensor) and out.shape[-2:] in ((3, 3), (1, 1)) and len(out) != len(x)
            if kernel:  # And not a feature map.
                sliced.append(out.untyped_storage().data_ptr() in own)
            return out

    with torch.no_grad(), Watch():
        for width in (0.5, 1.0, 0.5):
            at(model, width)(x)
    assert len(sliced) >= 3 * 7
    assert all(sliced)


def test_weights_and_classes_are_shared_and_norms_are_not(x):
    model = slimmed(network("resnet8", 8))
    assert isinstance(model.stem, SlimConv2d)
    assert isinstance(model.classifier, SlimLinear)
    assert isinstance(model.stem_norm, SwitchableBatchNorm2d)
    assert [norm.num_features for norm in model.stem_norm.norms] == [4, 8]
    assert at(model, 0.5)(x).shape == at(model, 1.0)(x).shape == (6, 5)
    plain = sum(parameter.numel() for parameter in network("resnet8", 8).parameters())
    features = sum(
        module.num_features for module in network("resnet8", 8).modules() if isinstance(module, nn.BatchNorm2d)
    )
    assert sum(parameter.numel() for parameter in model.parameters()) == plain + 2 * features // 2


def test_only_the_norm_of_the_running_width_learns_statistics(x):
    model = slimmed(network("resnet8", 8)).train()
    at(model, 0.5)(x)
    counts = [[int(norm.num_batches_tracked) for norm in m.norms] for m in model.modules() if hasattr(m, "norms")]
    assert counts == [[1, 0]] * 7


def test_a_narrow_norm_starts_as_the_first_features_and_keeps_role_and_settings():
    norm = mark(nn.BatchNorm2d(6, eps=0.1, momentum=0.4), "shortcut")
    shaken(norm)
    switchable = SwitchableBatchNorm2d(norm, WIDTHS, Condition("width"))
    narrow, full = switchable.norms
    assert full is norm
    assert role_of(switchable) == role_of(narrow) == "shortcut"
    assert (narrow.eps, narrow.momentum, narrow.num_features) == (0.1, 0.4, 3)
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(narrow, name), getattr(norm, name)[:3])
        assert getattr(narrow, name).data_ptr() != getattr(norm, name).data_ptr()
    assert isinstance(narrow.weight, nn.Parameter)


def test_dual_batch_norm_doubles_the_norm_of_each_width(x):
    condition = Condition("width", "branch", "split")
    model = attach(dualise(slim(network("resnet8", 8), WIDTHS, condition), condition), condition)
    assert [type(norm) for norm in model.stem_norm.norms] == [DualNorm] * 2
    model.train()
    at(model, 0.5, branch=ADVERSARIAL)(x)
    at(model, 1.0, branch=CLEAN)(x)
    tracked = [[int(branch.num_batches_tracked) for branch in dual.branches] for dual in model.stem_norm.norms]
    assert tracked == [[0, 1], [1, 0]]


# Noise


def noisy_slim() -> nn.Module:
    torch.manual_seed(0)
    condition = Condition("width", "noise")
    return attach(add_noise(slim(network("resnet8", 8), WIDTHS, condition), condition), condition).eval()


def test_noise_is_drawn_for_the_whole_weight_and_sliced_with_it(x):
    model = noisy_slim()
    layer = model.blocks[0].conv1
    assert type(layer) is NoisySlimConv2d
    with torch.no_grad():
        layer.weight[4:] *= 50  # The standard deviation is the whole tensor's, not the slice's.
        layer.alpha.fill_(0.3)
    h = torch.rand(2, 4, 8, 8)
    torch.manual_seed(3)
    sliced = View(attach(layer, model.condition), {"width": 0.5, "noise": 0.7})(h)
    torch.manual_seed(3)
    whole = layer.weight + 0.7 * 0.3 * layer.weight.std() * torch.randn(8, 8, 3, 3)
    torch.testing.assert_close(sliced, functional.conv2d(h, whole[:4, :4], padding=1))


def test_the_widths_share_alpha_and_both_teach_it(x):
    model = noisy_slim()
    alphas = {path: parameter for path, parameter in model.named_parameters() if path.endswith(".alpha")}
    assert len(alphas) == 7
    assert all(alpha.shape == () for alpha in alphas.values())
    assert type(model.classifier) is SlimLinear
    for width in WIDTHS:
        model.zero_grad()
        at(model, width, noise=1.0)(x).square().sum().backward()
        assert all(float(alpha.grad.abs()) > 0 for alpha in alphas.values())


@pytest.mark.parametrize("width", WIDTHS)
def test_a_baked_model_keeps_its_width(width, x):
    model = noisy_slim()
    torch.manual_seed(7)
    expected = at(model, width, noise=1.0)(x)
    torch.manual_seed(7)
    baked = freeze(View(model, {"width": width, "noise": 1.0}, stochastic=True))
    torch.testing.assert_close(baked(x), expected)
    assert torch.equal(baked(x), baked(x))


# Refusals


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ([0.5], r"widths \[0\.5\] must lie in \(0, 1\], and one of them is 1"),
        ([0.0, 1.0], r"must lie in \(0, 1\]"),
        ([0.5, 1.0, 2.0], r"must lie in \(0, 1\]"),
        (
            [0.3, 1.0],
            r"width 0\.3: stem has 8 channels, of which this is no whole number; valid here: multiples of 1/8",
        ),
    ],
)
def test_widths_that_cannot_be_are_refused(widths, message):
    with pytest.raises(PluginError, match=message):
        slim(network("resnet8", 8), widths, Condition("width"))


def test_a_third_of_the_channels_is_a_whole_number_where_they_divide():
    slim(network("resnet8", 9), [1 / 3, 2 / 3, 1.0], Condition("width"))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Conv2d(8, 8, 3, groups=2), "knows plain and zero-padded depthwise convolutions; 0 has groups"),
        (nn.Conv2d(8, 8, 3, groups=8, padding_mode="circular"), "knows plain and zero-padded depthwise"),
        (nn.GroupNorm(2, 8), "knows convolutions, batch norm and linear layers; 0 is a GroupNorm"),
        (nn.ConvTranspose2d(8, 8, 3), "0 is a ConvTranspose2d"),
        (nn.PReLU(8), "0 is a PReLU"),
    ],
)
def test_layers_that_cannot_be_sliced_are_refused(layer, message):
    with pytest.raises(PluginError, match=message):
        slim(nn.Sequential(layer), WIDTHS, Condition("width"))


def test_noise_comes_after_slimming_and_not_on_linear_layers():
    condition = Condition("width", "noise")
    with pytest.raises(PluginError, match="stem is noisy already; a network is slimmed first and made noisy then"):
        slim(add_noise(network("resnet8", 8), condition), WIDTHS, condition)
    with pytest.raises(PluginError, match="noise on a slimmed linear layer is not supported"):
        add_noise(slim(network("resnet8", 8), WIDTHS, condition), condition, linear=True)


@pytest.mark.parametrize("values", [{"width": 0.75}, {}])
def test_a_pass_at_a_width_the_model_lacks_is_refused(values, x):
    model = slimmed(network("resnet8", 8))
    with pytest.raises(RuntimeError, match=r"the model has no width (0\.75|None); it has 0\.5, 1"):
        View(model, values)(x)
