"""Models that are attacked in bf16: as strong an attack as in float32, whatever the model does with what bf16 leaves of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import robuststack as rs
from referee import EPS, Base, split, taught
from robuststack.attacks.attacked_model import AttackedModel
from robuststack.engine.fitted import fit
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.condition import View

SAID = "cannot run in bf16: its forward passes are float32"


class Changed(nn.Module):
    """The small network, and what a function makes of it."""

    def __init__(self, change: Callable[[Tensor, Any], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.change = taught(Base(), 60), change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x, self.net)


class Product(torch.autograd.Function):
    """A linear layer with a gradient of its own, which autocast does not cast."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return functional.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.saved_tensors[0], None


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * (ctx.saved_tensors[0].abs() < 1)


def hooked(x: Tensor, net: Any) -> Tensor:
    features = net.features(x).flatten(1)
    if features.requires_grad:
        features.register_hook(lambda gradient: gradient @ torch.eye(features.shape[1]))
    return net.fc(features)


def detached(x: Tensor, net: Any) -> Tensor:
    features = net.features(x).flatten(1)
    return net.fc(features if features.dtype is torch.float32 else features.float().detach())


def with_a_way_of_its_own(x: Tensor, net: Any) -> Tensor:
    """Images that no probe shows end in an assignment that bf16 does not allow."""
    logits, dark = torch.zeros(len(x), 4), x.std((1, 2, 3)) < 0.25
    if not dark.any():
        return net(x)
    logits[dark], logits[~dark] = net(x[dark]), net(x[~dark])
    return logits


FLOAT32 = {
    "a gradient of its own": lambda x, net: Product.apply(net.features(x).flatten(1), net.fc.weight) + net.fc.bias,
    "a hook of a gradient": hooked,
    "no gradient in bf16": detached,
    "a large number that all logits share": lambda x, net: net(x) + 3000,
    "signs": lambda x, net: net.fc(Sign.apply(net.conv2(Sign.apply(net.norm(net.conv1(x))))).flatten(1)),
}


def scored(model: nn.Module, precision: str, attack: str, here: Path) -> tuple[float, ...]:
    (row,) = rs.evaluate(
        model, data=split("train"), attacks=[attack], eps=EPS / 2, device="cpu", store=here / precision,
        overrides=["measure.latency=false", f"precision={precision}"],
    ).rows  # fmt: skip
    return (row.ca.value, *(figure.value for figure in row.ra.values()))


@pytest.mark.parametrize("kind", FLOAT32)
def test_what_bf16_spoils_is_attacked_in_float32(kind: str, here: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = Changed(FLOAT32[kind])
    assert scored(model, "bf16", "pgd", here) == scored(model, "float32", "pgd", here)
    assert caplog.messages == [f"'Changed' {SAID}"]


def test_noise_that_bf16_spoils_is_attacked_in_float32(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    rs.evaluate(
        Changed(lambda x, net: net(x + 0.01 * torch.randn_like(x)) + 3000), data=split("test"), attacks=["fgsm"],
        stochastic=True, draws=2, eps=EPS, device="cpu", store=here / "store",
        overrides=["measure.latency=false", "precision=bf16"],
    )  # fmt: skip
    assert caplog.messages == [f"'Changed' {SAID}"]


class Patches(nn.Module):
    """A network with a convolution that processors with AMX get wrong in bf16."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 4, stride=4)
        self.fc = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv2(self.conv1(x).relu()).relu().flatten(1))


@pytest.mark.parametrize("count", [4, 60, 100])
def test_patches_are_in_bf16_what_they_are_in_float32(count: int) -> None:
    net = taught(Patches(), 60)
    low = Runtime(Hardware("cpu", "bf16"))
    images = split("train")[0].repeat(2, 1, 1, 1)[:count]
    needs = fit(net, View(net), (3, 8, 8), low)
    assert not needs.float32, "one layer is, not all"
    images = images.contiguous(memory_format=torch.channels_last)
    rounded, exact = AttackedModel(View(net), low)(images), net(images)
    assert float((rounded - exact).abs().max()) < 0.02 * float(exact.abs().max())


def test_noise_does_not_hide_what_bf16_spoils(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    def spoilt(x: Tensor, net: Any) -> Tensor:
        features = net.features(x + 0.01 * torch.randn_like(x)).flatten(1)
        return net.fc(features if features.dtype is torch.float32 else features.flip(1))  # type: ignore[no-any-return]

    rs.evaluate(
        Changed(spoilt), data=split("test"), attacks=["fgsm"], stochastic=True, draws=2, eps=EPS, device="cpu",
        store=here / "store", overrides=["measure.latency=false", "precision=bf16"],
    )  # fmt: skip
    assert caplog.messages == [f"'Changed' {SAID}"]


def test_noise_that_is_drawn_in_bf16_is_no_harm(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    def noisy(x: Tensor, net: Any) -> Tensor:
        features = net.features(x).flatten(1)
        return net.fc(features + 0.2 * features.std() * torch.randn_like(features))  # type: ignore[no-any-return]

    rs.evaluate(
        Changed(noisy), data=split("test"), attacks=["fgsm"], stochastic=True, draws=2, eps=EPS, device="cpu",
        store=here / "store", overrides=["measure.latency=false", "precision=bf16"],
    )  # fmt: skip
    assert caplog.messages == []


def test_a_way_that_fails_in_bf16_is_attacked_in_float32(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = Changed(with_a_way_of_its_own)
    assert scored(model, "bf16", "pgd", here) == scored(model, "float32", "pgd", here)
    (told,) = caplog.messages
    assert told.startswith("block 1: the model fails in bf16 (Index put requires")


def test_a_point_that_fails_in_bf16_is_attacked_in_float32(here: Path) -> None:
    class Tuned:
        def at(self, arrays: int) -> nn.Module:
            return Changed(lambda x, net: net(x) + (arrays and 0 * float(net(x).detach().numpy().max())))

    rows = rs.evaluate(
        Tuned(), data=split("test"), attacks=["pgd steps=2"], eps=EPS, points={"arrays": [1, 0]}, device="cpu",
        store=here / "store", overrides=["measure.latency=false", "precision=bf16"],
    ).rows  # fmt: skip
    assert len(rows) == 2


def test_a_point_that_bf16_spoils_takes_the_others_along(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Tuned:
        def at(self, shift: int) -> nn.Module:
            return Changed(lambda x, net: net(x) + shift)

    def at_3000(precision: str) -> float:
        rows = rs.evaluate(
            Tuned(), data=split("train"), attacks=["pgd"], eps=EPS / 2, points={"shift": [0, 3000]}, device="cpu",
            store=here / precision, overrides=["measure.latency=false", f"precision={precision}"],
        ).rows  # fmt: skip
        return rows[1].worst.value

    assert at_3000("bf16") == at_3000("float32")
    assert caplog.messages == [f"'Tuned' {SAID}"]


def test_a_margin_that_is_won_in_bf16_alone_is_attacked_on(here: Path) -> None:
    """CW's loss is flat past the boundary, and small steps stop just behind that of bf16."""
    model = Changed(lambda x, net: net(x))
    attack = "cw_inf steps=100"
    assert scored(model, "bf16", attack, here) == pytest.approx(scored(model, "float32", attack, here), abs=2)


WAVES = 2.0 ** torch.arange(9) * torch.pi
"""Frequencies of which bf16 holds no digits behind the point."""


class Waves(nn.Module):
    """A network of sines of the pixels, as positional encodings make them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encode = nn.Conv2d(3, 27, 1, bias=False)
        weight = torch.zeros(27, 3, 1, 1)
        for place, wave in enumerate(WAVES):
            for channel in range(3):
                weight[3 * place + channel, channel] = wave
        self.encode.weight = nn.Parameter(weight, requires_grad=False)
        self.net = nn.Sequential(nn.Conv2d(27, 16, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.encode(x).sin())  # type: ignore[no-any-return]


NOISE = {
    "on the logits": lambda x, net: (z := net(x)) + z.detach().std() * torch.randn_like(z),
    "on the images": lambda x, net: net(x + 0.01 * torch.randn_like(x)),
    "dropout": lambda x, net: functional.dropout(net(x), 0.3),
    "by a generator in place": lambda x, net: (z := net(x)) + torch.empty_like(z).uniform_(-1, 1),
    "none, for one of two": lambda x, net: net(x) + (0.0 if torch.rand(()) < 0.5 else 1.0) * torch.randn(len(x), 4),
}


def noisy(kind: str, network: nn.Module) -> nn.Module:
    model = Changed(NOISE[kind])
    model.net = network
    return model.eval()


@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize("spoilt", [True, False])
def test_noise_of_any_size_does_not_hide_what_bf16_spoils(kind: str, spoilt: bool) -> None:
    """Of a network that bf16 does not spoil, it is no reason to do without."""
    model = noisy(kind, taught(Waves() if spoilt else Base(), 30))
    needs = fit(model, View(model, stochastic=True), (3, 8, 8), Runtime(Hardware("cpu", "bf16")))
    assert needs.float32 == spoilt


def test_a_member_that_bf16_spoils_is_found_among_several() -> None:
    sound, spoilt = taught(Base(), 30), taught(Waves(), 30)
    model = Changed(lambda x, net: (sound if torch.rand(()) < 0.5 else spoilt)(x))
    needs = fit(model, View(model, stochastic=True), (3, 8, 8), Runtime(Hardware("cpu", "bf16")))
    assert needs.float32


def test_noise_that_cannot_be_repeated_is_no_reason_for_float32() -> None:
    source = torch.Generator()
    source.seed()
    model = Changed(lambda x, net: net(x) + 0.1 * torch.randn(len(x), 4, generator=source))
    needs = fit(model, View(model, stochastic=True), (3, 8, 8), Runtime(Hardware("cpu", "bf16")))
    assert not needs.float32
