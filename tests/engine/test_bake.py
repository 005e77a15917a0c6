"""Baked draws: one realisation for all, known by its number; and what each rung of the ladder is worth in a closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robuststack.engine.attack import attack_block
from robuststack.engine.bake import bake
from robuststack.engine.judge import judge_block
from robuststack.engine.runtime import Runtime
from robuststack.errors import ModelError
from robuststack.hardware import Hardware
from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.noise import add_noise
from robuststack.plugin.threat import Threat
from robuststack_plugins.attacks.fgsm import FGSM

RUNTIME = Runtime(Hardware("cpu", "float32"))
THREAT = Threat(norm="linf", eps=0.1)
BAKES = 8


class SecretSign(nn.Module):
    """Two classes told apart by the mean of the left half of the image, with a far larger weight on the right half whose
    sign, +1 or -1, is drawn in each forward pass: who knows the sign fools every image; who does not gains as often as it
    loses."""

    def __init__(self) -> None:
        super().__init__()
        self.condition = Condition("noise")
        self.sign: Tensor | None = None

    def freeze(self) -> None:
        self.sign = self.draw()

    def draw(self) -> Tensor:
        return torch.randint(2, ()) * 2.0 - 1.0

    def forward(self, x: Tensor) -> Tensor:
        left, right = x[..., :4].mean((1, 2, 3)) - 0.5, x[..., 4:].mean((1, 2, 3)) - 0.5
        margin = left + 20 * self.condition.read("noise") * (self.draw() if self.sign is None else self.sign) * right
        return torch.stack([-margin, margin], 1)


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    """Images whose left half is 0.2 below or above a half, and their classes."""
    y = torch.arange(20) % 2
    x = torch.full((20, 1, 4, 8), 0.5)
    x[..., :4] += 0.2 * (2 * y - 1).view(-1, 1, 1, 1)
    return x, y


def view(noise: float = 1.0) -> View:
    return View(SecretSign(), {"noise": noise}, stochastic=noise > 0)


def right(attacker: View, victim: View, images: tuple[Tensor, Tensor], draws: int = 1) -> float:
    """The accuracy of the victim on images that FGSM made against the attacker's model."""
    x, y = images
    made, _ = attack_block(attacker, x, y, FGSM(), THREAT, RUNTIME, seed=0, number=0, early_stop=attacker is victim)
    return float((judge_block(victim, made, draws, seed=0, stream="judge", number=0) == y).float().mean())


def test_secrecy_of_the_draw_is_worth_what_it_must_be(images):
    """The closed form: known 0; a surrogate's sign is the victim's in half of the draws; noise off moves the left half
    alone, which is not enough."""
    x, y = images
    assert right(view(0.0), view(), images, draws=40) == 1.0
    known, surrogate, signs = [], [], set()
    for number in range(BAKES):
        baked = bake(view(), number, x)
        signs.add(float(baked.model.sign))
        assert float((baked(x).argmax(1) == y).float().mean()) == 1.0
        known.append(right(baked, baked, images))
        surrogate.append(right(baked, view(), images, draws=40))
    assert known == [0.0] * BAKES
    # A half but for chance, which is 8 points for 40 draws; and both signs are among the bakes.
    assert all(0.2 < share < 0.8 for share in surrogate)
    assert signs == {-1.0, 1.0}


def test_the_judging_draws_are_not_the_attackers(images):
    """Planted: a victim that is the attacker's own draw shows as the known rung, 0, in place of about a half."""
    x, _ = images
    baked = bake(view(), 0, x)
    assert right(baked, bake(view(), 0, x), images) == 0.0
    assert right(baked, view(), images, draws=40) > 0.2


def network() -> nn.Module:
    torch.manual_seed(0)
    condition = Condition("noise")
    layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)]
    return attach(add_noise(nn.Sequential(*layers), condition, linear=True), condition).eval()


def test_a_number_names_a_draw_whatever_was_drawn_before(images):
    x, _ = images
    noisy = View(network(), {"noise": 1.0}, stochastic=True)
    first = bake(noisy, 3, x)
    torch.randn(100)
    state = torch.get_rng_state()
    again, other = bake(noisy, 3, x[:2]), bake(noisy, 4, x)
    assert torch.equal(torch.get_rng_state(), state), "baking leaves the default generator alone"
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert not torch.equal(first(x), other(x))
    assert not torch.equal(first(x), View(noisy.model, {"noise": 0.0})(x))


class KeepsTooMuch(SecretSign):
    """Keeps a draw for each place in the batch, for each batch size, or for each pass."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def freeze(self) -> None:
        self.kept = torch.randn(64)

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "kept"):
            return super().forward(x)
        if self.kind == "pass":
            self.kept = self.kept.roll(1)
        sign = {"place": self.kept[: len(x)], "size": self.kept[len(x)], "pass": self.kept[0], "batch": self.kept[:20]}
        mean = x.mean((1, 2, 3)) + sign[self.kind]
        return torch.stack([-mean, mean], 1)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pass", "two passes differ after each layer's freeze()"),
        ("place", "after each layer's freeze() an image's logits depend on its place in the batch"),
        ("size", "after each layer's freeze() an image's logits depend on its place in the batch"),
        ("batch", "after each layer's freeze() an image's logits depend on its place in the batch"),
    ],
)
def test_a_draw_that_is_not_one_for_all_is_refused(kind, message, images):
    model = View(KeepsTooMuch(kind), {"noise": 1.0}, stochastic=True)
    with pytest.raises(ModelError) as caught:
        bake(model, 0, images[0])
    assert str(caught.value).startswith(f"the model cannot be frozen: {message}")
