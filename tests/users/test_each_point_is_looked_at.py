"""A model with a knob may run other code at each point: what could not be scored is refused at any of them, and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robuststack as rs
from referee import EPS, Base, figures, split, taught
from robuststack.errors import ModelError


class Batchwise(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits - logits.mean(0)


class Noisy(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits + torch.randn_like(logits)


class Detached(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits.detach()


class Spoilt(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits * float("nan")


class Short(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits[:, :-1]


class Tuned:
    """Good logits, and at mode 1 those that a last layer makes of them."""

    def __init__(self, net: nn.Module, last: nn.Module) -> None:
        self.net, self.last = net, last

    def at(self, mode: int) -> nn.Module:
        return nn.Sequential(self.net, self.last) if mode else self.net


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return taught(Base())


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., rs.Result]:
    def go(model: object, modes: list[int], attack: str = "fgsm", **more: Any) -> rs.Result:
        return rs.evaluate(
            model, data=split("test"), attacks=[attack], eps=EPS, points={"mode": modes}, store=tmp_path / "store",
            device="cpu", overrides=["measure.latency=false", "precision=float32"], **more,
        )  # fmt: skip

    return go


@pytest.mark.parametrize("modes", [[0, 1], [1, 0]])
@pytest.mark.parametrize(
    ("last", "problem"),
    [
        (nn.Softmax(1), "returns probabilities; remove its softmax"),
        (Noisy(), "gives other logits when it is called again"),
        (Batchwise(), "gives an image other logits in a batch of"),
        (Detached(), "gives no gradients"),
        (Spoilt(), "gives NaN for each of"),
        (Short(), "the dataset has"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_is_wrong_at_one_point_is_refused_by_its_name(
    go: Any, net: nn.Module, last: nn.Module, problem: str, modes: list[int]
) -> None:
    with pytest.raises(ModelError, match=rf"^'Tuned' at mode=1 .*{problem}") as caught:
        go(Tuned(net, last), modes)
    assert "\n" not in str(caught.value)


def test_points_that_are_in_order_get_their_figures(go: Any, net: nn.Module) -> None:
    rows = go(Tuned(net, nn.LogSoftmax(1)), [1, 0]).rows
    expected = [figures(nn.Sequential(net, nn.LogSoftmax(1))), figures(net)]
    assert [(row.ca.value, row.ra["FGSM"].value) for row in rows] == [
        pytest.approx(pair, abs=1e-3) for pair in expected
    ]


def test_noise_at_one_point_may_be_declared(go: Any, net: nn.Module) -> None:
    assert len(go(Tuned(net, Noisy()), [1, 0], stochastic=True, draws=20).rows) == 2


def test_an_attack_without_gradients_takes_a_point_without_them(go: Any, net: nn.Module) -> None:
    assert len(go(Tuned(net, Detached()), [1, 0], "noise").rows) == 2
