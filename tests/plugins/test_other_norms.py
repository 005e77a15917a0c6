"""Defenses on networks without batch norm: group norm, layer norm over tokens and over channels, and no norm at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.vision_transformer import VisionTransformer

import robuststack as rs
from robuststack.engine import models
from robuststack.engine import train as training
from robuststack.engine.measure import blueprint
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.norms import channels, norms
from robuststack.layers.roles import mark_by_structure, role_of
from robuststack.plugin.registry import Registry

REGISTRY, RUNTIME = Registry(), Runtime(Hardware("cpu", "float32"))
SHAPE, CLASSES, BATCH, DIM = (3, 8, 8), 4, 8, 5


class Residual(nn.Module):
    """A network of group norms: a stem, two blocks, of which one has a shortcut, and a final norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU())
        self.first, self.second = self.block(4, 4), self.block(4, 8)
        self.shortcut = nn.Sequential(nn.Conv2d(4, 8, 1), nn.GroupNorm(2, 8))
        self.final, self.head = nn.GroupNorm(2, 8), nn.Linear(8, CLASSES)

    @staticmethod
    def block(inputs: int, outputs: int) -> nn.Sequential:
        convolutions = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        return nn.Sequential(
            convolutions[0], nn.GroupNorm(2, outputs), nn.ReLU(), convolutions[1], nn.GroupNorm(2, outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        h = h + self.first(h)
        h = self.shortcut(h) + self.second(h)
        return self.head(self.final(h).relu().mean((2, 3)))


def convnext() -> nn.Module:
    blocks = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)]
    return ConvNeXt(blocks, layer_scale=1.0, num_classes=CLASSES)


def transformer() -> nn.Module:
    network = VisionTransformer(8, 4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=CLASSES)
    nn.init.normal_(network.heads.head.weight)  # Torchvision starts it at zero, and no gradient goes past it.
    return network


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, CLASSES))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "group": Residual, "convnext": convnext, "transformer": transformer, "none": plain,
}  # fmt: skip
NORMS = {  # network -> role -> the channels of its norms
    "group": {"stem": [4], "block": [4, 4, 8, 8], "shortcut": [8], "final": [8]},
    "convnext": {"stem": [8], "block": [8, 8, 16], "final": [16]},
    "transformer": {"stem": [8], "block": [8, 8, 8], "final": [8]},
}
CONVOLUTIONS = {"group": 6, "convnext": 4, "transformer": 1, "none": 1}
LINEAR = {"group": 1, "convnext": 5, "none": 1}


class Network(rs.Architecture):
    """One of the networks of this module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def build(self, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return mark_by_structure(NETWORKS[self.name](), shape)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("network", NORMS)
def test_roles_are_found_in_the_structure(network):
    roles: dict[str, list[int]] = {}
    for _, norm in norms(Network(network).build(SHAPE, CLASSES)):
        roles.setdefault(role_of(norm), []).append(channels(norm))
    assert roles == NORMS[network]


RUNS = [
    *((network, defense) for network in NETWORKS for defense in ("none", "pgd_at")),
    *((network, defense) for network in NORMS for defense in ("float", "float code", "oat", "advprop", "adapter_soup")),
    ("group", "pni"), ("convnext", "pni"), ("none", "pni"), ("group", "floats_sparse"),
]  # fmt: skip
OPTIONS = {"float code": {"recipe": "code"}, "oat": {"dim": DIM}, "pni": {"warmup_epochs": 0}}


def method_of(defense: str) -> rs.Defense:
    return REGISTRY.create("defense", defense.partition(" ")[0], OPTIONS.get(defense, {}))


@pytest.mark.parametrize(("network", "defense"), RUNS)
def test_a_defense_trains_and_runs_at_each_of_its_points(network, defense):
    method = method_of(defense)
    model = RUNTIME.place(models.build(method, Network(network), SHAPE, CLASSES, 0))
    attack = REGISTRY.create("attack", "pgd", {"steps": 1, "draws": 1})
    step = training.Step(model.train(), attack, rs.Threat(eps=0.03), RUNTIME, 1, 0)
    source = torch.Generator().manual_seed(0)
    x, y = torch.rand(BATCH, *SHAPE, generator=source), torch.randint(CLASSES, (BATCH,), generator=source)
    step.begin(x, y, 0, 0)
    method.training_step(step)
    missing = [
        path
        for path, parameter in model.named_parameters()
        if parameter.grad is None or not torch.isfinite(parameter.grad).all()
    ]
    assert missing == []
    for point in method.operating_points():
        logits = method.deploy(model.eval(), method.whole_point(point))(x)
        assert logits.shape == (BATCH, CLASSES)
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize("network", NORMS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_parameters_are_those_of_a_count_by_hand(network, device):
    base = parameters(NETWORKS[network]())
    roles = NORMS[network]
    doubled = sum(2 * count for counts in roles.values() for count in counts)  # Gamma and beta.
    modulated = [count for role in ("stem", "block") for count in roles[role]]
    film = sum(4 * count**2 + (2 * DIM + 4) * count for count in modulated)
    expected = {
        "none": base,
        "pgd_at": base,
        "advprop": base + doubled,
        "adapter_soup": base + doubled,
        "float": base + doubled + CONVOLUTIONS[network],
        "oat": base + doubled + film,
    }
    if network in LINEAR:
        expected["pni"] = base + CONVOLUTIONS[network] + LINEAR[network]
    for defense, count in expected.items():
        method = method_of(defense)
        if device == "meta":
            model = blueprint(method, Network(network), SHAPE, CLASSES)
            assert next(model.parameters()).device.type == "meta"
        else:
            model = models.build(method, Network(network), SHAPE, CLASSES, 0)
        assert parameters(model) == count, defense


REFUSED = [
    ("none", "float", "dual norm needs an architecture with batch, group, instance or layer norms, and this one has none"),
    ("none", "oat", "dual norm needs an architecture with batch, group, instance or layer norms, and this one has none"),
    ("none", "adapter_soup", "an affine soup needs an architecture with norm layers, and this one has none"),
    ("group", "floats", "slimming knows convolutions, batch norm and linear layers; stem.1 is a GroupNorm"),
    ("convnext", "oats", "slimming knows convolutions, batch norm and linear layers; features.0.1 is a LayerNorm2d"),
    ("transformer", "pni", "noise on linear layers has no effect inside encoder.layers.encoder_layer_0.self_attention,"
                           " a MultiheadAttention"),
]  # fmt: skip


@pytest.mark.parametrize("build", [blueprint, lambda *parts: models.build(*parts, 0)], ids=["meta", "cpu"])
@pytest.mark.parametrize(("network", "defense", "message"), REFUSED)
def test_what_a_defense_needs_and_a_network_lacks_is_one_line_at_build(build, network, defense, message):
    with pytest.raises(rs.PluginError) as caught:
        build(method_of(defense), Network(network), SHAPE, CLASSES)
    assert str(caught.value) == message
