"""Random resizing: sizes and places, one draw a batch, its frozen draw, its quiet setting and its protocols."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from torch import Tensor, nn

import robuststack as rs
from peers import REGISTRY
from robuststack.engine.bake import bake
from robuststack.layers.condition import Condition, View, attach
from robuststack.suite.ladder import ladder
from robuststack_plugins.defenses.resizing import RandomResize, largest_side, resized

DEFENSE: rs.Defense = REGISTRY.create("defense", "random_resize")


class Seen(nn.Module):
    """Logits that tell where the image lies: its first and last row and column that are not empty."""

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (x[:, 0] > 0).any(2).float(), (x[:, 0] > 0).any(1).float()
        edges = [part.argmax(1) for side in (rows, columns) for part in (side, side.flip(1))]
        return torch.stack([*edges, torch.full_like(edges[0], x.shape[2])], 1).float()


def view(largest: float = 1.125) -> View:
    condition = Condition("largest")
    model = attach(RandomResize(Seen(), condition), condition).eval()
    return View(model, {"largest": largest}, stochastic=largest > 1)


def test_every_size_and_every_place_comes_up_alike():
    """8 x 8 pixels: as they are at one of four places of 9 x 9, or resized to all of it, each half of the times."""
    torch.manual_seed(0)
    x, noisy = torch.ones(1, 1, 8, 8), view()
    seen = Counter(tuple(int(value) for value in noisy(x)[0]) for _ in range(2000))
    assert set(seen) == {(top, 1 - top, left, 1 - left, 9) for top in (0, 1) for left in (0, 1)} | {(0, 0, 0, 0, 9)}
    # Of 2,000 draws, 1,000 and four times 250, within five standard deviations.
    assert abs(seen.pop((0, 0, 0, 0, 9)) - 1000) < 5 * 500**0.5
    assert all(abs(count - 250) < 5 * (2000 / 8 * 7 / 8) ** 0.5 for count in seen.values())


def test_one_draw_serves_the_whole_batch():
    torch.manual_seed(0)
    noisy = view(2.0)
    for _ in range(10):
        logits = noisy(torch.ones(6, 1, 8, 8))
        assert (logits == logits[0]).all()


@given(
    height=st.integers(1, 40), width=st.integers(1, 40), ratio=st.floats(1.001, 2.0),
    drawn=st.lists(st.floats(0, 1, exclude_max=True), min_size=3, max_size=3),
)  # fmt: skip
@bounded(max_examples=200)
def test_the_image_lies_whole_within_the_padding(height, width, ratio, drawn):
    x = torch.rand(2, 3, height, width) * 0.5 + 0.5
    padded = resized(x, ratio, drawn)
    assert padded.shape == (2, 3, largest_side(height, ratio), largest_side(width, ratio))
    assert padded.shape[2] > height, "a ratio above 1 always leaves room"
    filled = padded[0, 0] > 0
    rows, columns = int(filled.any(1).sum()), int(filled.any(0).sum())
    assert height <= rows <= padded.shape[2]
    assert width <= columns <= padded.shape[3]
    assert int(filled.sum()) == rows * columns, "one rectangle, without a hole"
    # Nearest neighbours: every pixel is one of the image's, and none of the image's is lost.
    assert set(padded[0, 0][filled].tolist()) == set(x[0, 0].flatten().tolist())


@pytest.mark.parametrize(
    ("side", "ratio", "most"),
    [(8, 1.125, 9), (28, 1.125, 32), (32, 1.125, 36), (10, 1.1, 11), (5, 1.125, 6), (8, 1 + 1e-9, 9)],
)
def test_sides_grow_to_the_ratio_and_by_one_pixel_at_least(side, ratio, most):
    assert largest_side(side, ratio) == most


def test_a_frozen_draw_is_one_size_and_place():
    x = torch.ones(5, 1, 8, 8)
    draws = set()
    for number in range(12):
        baked = bake(view(2.0), number, x)
        logits = baked(x)
        assert (logits == logits[0]).all()
        assert torch.equal(baked(x[:2]), logits[:2])
        draws.add(tuple(logits[0].tolist()))
    assert len(draws) > 3


def test_quiet_it_is_the_network_alone():
    assert DEFENSE.quiet(DEFENSE.setting({"largest": 1.0})) is None
    quiet = DEFENSE.quiet(DEFENSE.setting({"largest": 1.125}))
    assert quiet == rs.Setting({"largest": 1.0})
    model = view().model
    x = torch.rand(3, 1, 8, 8) + 0.1
    assert torch.equal(DEFENSE.view(model, quiet)(x), Seen()(x))


def test_the_published_attacker_knows_the_network_alone():
    """It is the rung `off`; at the deterministic point it is the adaptive attacker."""
    point = {"largest": 1.125}
    scorings = DEFENSE.protocols(point)
    rungs = ladder(DEFENSE, scorings["adaptive"], 5)
    assert rungs is not None
    assert scorings["published"] == rungs.protocols["off"]
    assert list(rungs.protocols) == ["off", "surrogate", "frozen_known"]
    still = DEFENSE.protocols({"largest": 1.0})
    assert still["published"] == still["adaptive"]


@pytest.mark.parametrize("options", [{}, {"resized": True}, {"lambda": 1.0}, {"lambda": 0.5, "resized": True}])
def test_it_trains_the_network_alone_or_through_the_resizing(options):
    from robuststack.engine import models
    from robuststack.engine import train as training
    from robuststack.testing.network import RUNTIME, THREAT, SmallResNet, TwoSteps, images

    defense = REGISTRY.create("defense", "random_resize", options)
    model = models.build(defense, SmallResNet(), (3, 8, 8), 4, 0)
    sides = []
    model.network.stem.register_forward_pre_hook(lambda layer, inputs: sides.append(inputs[0].shape[2]))
    step = training.Step(model.train(), TwoSteps(), THREAT, RUNTIME, 2, 0)
    step.begin(*images((3, 8, 8), 4, 8, 0), 0, 0)
    defense.training_step(step)
    assert set(sides) == ({9} if options.get("resized") else {8})
    assert float(step.loss) > 0
