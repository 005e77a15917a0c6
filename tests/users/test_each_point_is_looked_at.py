"""A model with a knob may run other code at each point: what could not be scored is refused at any of them, and named."""

from __future__ import annotations

import copy
import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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


class OwnGenerator(nn.Module):
    def __init__(self, generator: Any) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, logits: Tensor) -> Tensor:
        if isinstance(self.generator, torch.Generator):
            return logits + torch.randn(logits.shape, generator=self.generator)
        return logits + torch.from_numpy(self.generator.normal(size=logits.shape)).to(logits)


@pytest.mark.parametrize("generator", [torch.Generator(), np.random.default_rng(0)])
def test_noise_that_no_seed_reaches_is_refused_before_compute(go: Any, net: nn.Module, generator: Any) -> None:
    with pytest.raises(
        ModelError, match=r"'Tuned' at mode=1 gives other logits .* default generators of torch"
    ) as caught:
        go(Tuned(net, OwnGenerator(generator)), [1, 0], stochastic=True, draws=20)
    assert "\n" not in str(caught.value)


class Named(nn.Module):
    """The class alone: 1 for it and 0 for the others."""

    def forward(self, logits: Tensor) -> Tensor:
        return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float()


def test_a_model_that_names_its_class_alone_is_attacked_by_calls(go: Any, net: nn.Module) -> None:
    assert len(go(Tuned(net, Named()), [1, 0], "square queries=20").rows) == 2
    with pytest.raises(ModelError, match="returns probabilities"):
        go(Tuned(net, Named()), [1, 0])


def test_an_attack_without_gradients_takes_a_point_without_them(go: Any, net: nn.Module) -> None:
    assert len(go(Tuned(net, Detached()), [1, 0], "noise").rows) == 2


class Shifting(nn.Module):
    """Adds what stands in a variable of the process to each image."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + float(os.environ.get("SHIFT", "0")))


class InTheProcess:
    def __init__(self, net: nn.Module) -> None:
        self.net = Shifting(net)

    def at(self, shift: float) -> nn.Module:
        os.environ["SHIFT"] = str(shift)
        return self.net


class InAModule:
    """`at` sets a value in a module of a package, which its function reads."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def at(self, shift: float) -> Callable[[Tensor], Tensor]:
        package.settings.shift = shift
        return lambda x: self.net(x + package.settings.shift)


package = types.ModuleType("package")
package.settings = types.ModuleType("package.settings")  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [InTheProcess, InAModule])
def test_what_at_sets_outside_of_the_model_is_one_line(
    kind: type, net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIFT", "0")
    with pytest.raises(
        ModelError, match=rf"what {kind.__name__}.at\(shift=0\.0\) returns is changed by a later call"
    ) as caught:
        rs.evaluate(
            kind(net), data=split("test"), attacks=["fgsm"], eps=EPS, points={"shift": [0.0, 0.5]},
            store=tmp_path / "store", device="cpu",
        )  # fmt: skip
    assert "\n" not in str(caught.value)


class Dictionary(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.net(x)}


class Flat(nn.Module):
    """A view of its input's memory: it needs torch's default layout."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.view(len(x), -1).view_as(x))


class Double(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Either:
    def __init__(self, net: nn.Module, other: nn.Module) -> None:
        self.net, self.other = net, other

    def at(self, split: int) -> nn.Module:
        return self.other if split else self.net


@pytest.mark.parametrize("wrap", [Dictionary, Flat, Double])
@pytest.mark.parametrize("values", [[0, 1], [1, 0]])
def test_each_point_gets_what_it_needs(wrap: type, values: list[int], net: nn.Module, tmp_path: Path) -> None:
    """Networks of two points may take other types and layouts; and a knob may be called as a field of the engine's."""
    result = rs.evaluate(
        Either(net, wrap(net)), data=split("test"), attacks=["fgsm", "pgd steps=5"], eps=EPS, points={"split": values},
        store=tmp_path / "store", device="cpu", overrides=["measure.latency=false", "precision=float32"],
    )  # fmt: skip
    assert not result.failed
    first, second = result.rows
    assert first.ca.value == second.ca.value == pytest.approx(figures(net)[0], abs=1e-3)
    assert first.ra["FGSM"].value == pytest.approx(second.ra["FGSM"].value, abs=2)


@pytest.mark.parametrize("wrap", [Dictionary, lambda net: nn.Sequential(net, nn.Unflatten(1, (-1, 1, 1)))])
def test_classes_are_counted_from_whatever_holds_the_logits(wrap: Any, net: nn.Module, tmp_path: Path) -> None:
    images, labels = split("test")
    few = labels < labels.max()
    result = rs.evaluate(
        wrap(net), data=(images[few], labels[few]), attacks=["fgsm"], eps=EPS, store=tmp_path / "store", device="cpu"
    )
    assert len(result.rows) == 1
