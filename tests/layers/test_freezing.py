"""One draw of all of a model's noise, kept: weights, layers with noise of their own, and noise that nobody can keep."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robuststack.errors import ModelError
from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.folding import Folding
from robuststack.layers.freezing import freeze
from robuststack.layers.noise import add_noise


class InputNoise(nn.Module):
    """Noise on the image, beside that of the weights, of the same scale."""

    def __init__(self, condition: Condition, *, freezes: bool) -> None:
        super().__init__()
        self.condition = condition
        self.draw: Tensor | None = None
        if freezes:
            self.freeze = self._freeze

    def _freeze(self) -> None:
        self.draw = torch.randn(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.condition.read("noise") * (torch.randn(3, 1, 1) if self.draw is None else self.draw)


def make(granularity: str = "layer", *, freezes: bool | None = None) -> nn.Module:
    """A network with noisy weights and, unless `freezes` is None, noise on its input."""
    torch.manual_seed(0)
    condition = Condition("noise")
    first = [] if freezes is None else [InputNoise(condition, freezes=freezes)]
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*first, *layers, nn.Linear(8, 4))
    return attach(add_noise(model, condition, granularity, linear=True), condition).eval()  # type: ignore[arg-type]


def view(model: nn.Module, noise: float = 0.5) -> View:
    return View(model, {"noise": noise}, stochastic=noise > 0)


@pytest.fixture
def x() -> Tensor:
    return torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("freezes", [None, True])
@torch.no_grad()
def test_it_is_deterministic_and_independent(freezes, x):
    model = make(freezes=freezes)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    frozen = freeze(view(model))
    assert not frozen.stochastic
    expected = frozen(x)
    assert torch.equal(frozen(x), expected)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    for parameter in model.parameters():
        parameter.zero_()
    assert torch.equal(frozen(x), expected)


@pytest.mark.parametrize("granularity", ["layer", "channel", "element"])
@pytest.mark.parametrize("freezes", [None, True])
@torch.no_grad()
def test_it_is_one_draw_of_all_the_noise(granularity, freezes, x):
    """What a forward pass from the same seed computes: every layer has drawn, in the order of the modules."""
    model = make(granularity, freezes=freezes)
    torch.manual_seed(7)
    expected = view(model, 1.5)(x)
    torch.manual_seed(7)
    torch.testing.assert_close(freeze(view(model, 1.5))(x), expected)
    torch.manual_seed(8)
    assert not torch.allclose(freeze(view(model, 1.5))(x), expected)


@torch.no_grad()
def test_the_draw_is_the_same_for_every_image_position_and_batch_size(x):
    frozen = freeze(view(make(freezes=True)))
    whole = frozen(x)
    torch.testing.assert_close(torch.cat([frozen(x[3:]), frozen(x[:3])]), whole[[3, 0, 1, 2]])


@torch.no_grad()
def test_other_noise_is_not_switched_off(x):
    """With every weight's noise frozen away, what the input's noise adds is still there."""
    model = make(freezes=True)
    for layer in (model[1], model[-1]):
        layer.alpha.zero_()
    assert not torch.allclose(freeze(view(model))(x), view(model, 0.0)(x))


def test_noise_that_no_layer_freezes_is_refused_at_the_first_pass(x):
    frozen = freeze(view(make(freezes=False)))
    with pytest.raises(ModelError) as caught:
        frozen(x)
    assert str(caught.value) == (
        "the model cannot be frozen: two passes differ after each layer's freeze(); the layer that still draws noise needs"
        " a method freeze() that keeps one draw"
    )


def test_too_little_memory_for_the_check_is_no_fault_of_the_model(x, monkeypatch):
    frozen = freeze(view(make()))

    def small(images: Tensor) -> Tensor:
        if len(images) > len(x):
            raise torch.OutOfMemoryError
        return images.flatten(1)

    monkeypatch.setattr(frozen.model, "forward", small)
    with pytest.raises(torch.OutOfMemoryError):
        frozen(x)


def test_without_noise_it_is_the_model(x):
    model = make(freezes=False)
    assert torch.equal(freeze(view(model, 0.0))(x), view(model, 0.0)(x))


@torch.no_grad()
def test_a_frozen_model_folds_its_batch_norms_and_draws_no_more(x):
    frozen = freeze(view(make()))
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    folded = Folding().of(frozen, x)
    assert folded is not frozen
    torch.testing.assert_close(folded(x), frozen(x), rtol=1e-4, atol=1e-5)
    assert torch.equal(folded(x), folded(x))
