"""Models whose state is shared between points, batches, calls or runs get the right figures or one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robuststack as rs
from referee import EPS, Base, figures, split, taught


class Scaled(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.scale = net, 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x * self.scale)


class Shared:
    """`at` sets a value in one module that all points share."""

    def __init__(self, wrap: Callable[[nn.Module], Any]) -> None:
        self.wrap = wrap

    def at(self, scale: float) -> Any:
        SHARED[0].scale = scale
        return self.wrap(SHARED[0])


SHARED: list[Scaled] = []


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., rs.Result]:
    def go(model: object, **more: Any) -> rs.Result:
        return rs.evaluate(
            model, data=split("test"), attacks=["fgsm"], eps=EPS, store=tmp_path / "store", device="cpu",
            overrides=["measure.latency=false", "precision=float32"], **more,
        )  # fmt: skip

    return go


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return taught(Base())


def test_a_point_keeps_its_values_when_the_next_one_is_made(go: Any, net: nn.Module) -> None:
    SHARED[:] = [Scaled(net)]
    rows = go(Shared(lambda shared: shared), points={"scale": [0.3, 1.0]}).rows
    expected = [figures(scaled(net, scale)) for scale in (0.3, 1.0)]
    assert expected[0] != expected[1]
    assert [(row.ca.value, row.worst.value) for row in rows] == [pytest.approx(pair, abs=1e-3) for pair in expected]


def scaled(net: nn.Module, scale: float) -> nn.Module:
    network = Scaled(net)
    network.scale = scale
    return network


def test_what_no_copy_can_keep_is_one_line(go: Any, net: nn.Module) -> None:
    SHARED[:] = [Scaled(net)]
    with pytest.raises(
        rs.RobustStackError, match=r"what Shared.at\(scale=0.3\) returns is changed by a later call of `at`"
    ):
        go(Shared(lambda shared: lambda x: SHARED[0](x)), points={"scale": [0.3, 1.0]})


class Dead(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        return torch.zeros_like(gradient)


def test_another_backward_pass_alone_is_scored_anew(go: Any, net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = nn.Sequential(net.conv1, net.norm, nn.ReLU(), net.conv2, nn.ReLU(), nn.Flatten(), net.fc)
    before = go(layers).rows[0].worst.value
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: Dead.apply(x))
    row = go(layers).rows[0]
    assert row.worst.value == row.ca.value > before


@pytest.mark.parametrize("kind", ["mean", "noise", "rows"])
def test_what_only_a_large_batch_shows_is_refused(kind: str, go: Any, net: nn.Module) -> None:
    class Large(Scaled):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) <= 8:
                return self.net(x)
            return self.net({"mean": x - x.mean(0), "noise": x + torch.rand_like(x), "rows": x[:9]}[kind])

    with pytest.raises(rs.RobustStackError, match="gives an image other logits in a batch of 30 than in one of 8"):
        go(Large(net))


def test_similar_images_of_before_are_no_answer(go: Any, net: nn.Module) -> None:
    class Reuses(Scaled):
        seen: Any = None

        def forward(self, x: Tensor) -> Tensor:
            if self.seen and self.seen[0].shape == x.shape and (self.seen[0] - x).abs().max() < 0.15:
                return self.seen[1] + 0 * x.sum()
            logits = self.net(x)
            self.seen = x.detach().clone(), logits.detach()
            return logits

    with pytest.raises(rs.RobustStackError, match="its logits of an image depend on which images it saw before"):
        go(Reuses(net))
