"""What the host makes of attacks that break their contract: put right and recorded, or refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import robuststack as rs
from robuststack.attacks.ball import project
from robuststack.engine.data import Data
from robuststack.engine.evaluate import Evaluation
from robuststack.errors import PluginError
from robuststack.layers.condition import View
from victims import THREAT, Net, create, everything, images, model, run, same


class Shouting(rs.Attack):
    """Leaves the ball and the pixel range."""

    def perturb(self, model, x, y, threat, generator):
        return x + 3 * threat.eps


class Absent(rs.Attack):
    """Returns what no image can hold."""

    def perturb(self, model, x, y, threat, generator):
        raised = x + threat.eps
        raised[0, 0, 0, 0], raised[1, 0, 0, 0] = torch.nan, torch.inf
        return raised


class Training(rs.Attack):
    """Leaves the model in train mode, with other batch norm statistics."""

    def perturb(self, model, x, y, threat, generator):
        model.train()
        model(x + 5)
        return x


class Moving(rs.Attack):
    """Changes batch norm statistics and puts the mode back."""

    def perturb(self, model, x, y, threat, generator):
        model.train()
        model(x + 5)
        model.eval()
        return x


class InPlace(rs.Attack):
    """Writes into the images and labels it was given, so that the ball moves along."""

    def perturb(self, model, x, y, threat, generator):
        x.fill_(0.5)
        y.fill_(0)
        return x


class Cropping(rs.Attack):
    """Returns images of another shape."""

    def perturb(self, model, x, y, threat, generator):
        return x[:, :, 1:]


def in_ball(outcome: Evaluation, data: Data) -> bool:
    return bool(((outcome.images - data.images).abs() <= THREAT.eps + 1e-6).all()) and bool(
        ((outcome.images >= 0) & (outcome.images <= 1)).all()
    )


def test_an_honest_attack_passes_every_check():
    data = Data(*images())
    outcome = run(View(model()), create("pgd", steps=3), data=data)
    assert outcome.checks["clipped"] < 1e-6
    assert outcome.checks["not_finite"] == 0
    assert outcome.checks["state_kept"] is True
    assert in_ball(outcome, data)


def test_images_outside_the_ball_are_clipped_and_recorded():
    data = Data(*images())
    outcome = run(View(model()), Shouting(), data=data)
    assert outcome.checks["clipped"] == pytest.approx(3 * THREAT.eps, abs=1e-5)
    assert in_ball(outcome, data)


def test_values_that_are_no_numbers_count_as_the_clean_image_and_are_recorded():
    data = Data(*images())
    outcome = run(View(model()), Absent(), data=data)
    assert outcome.checks["not_finite"] == 2 * 3
    assert in_ball(outcome, data)
    assert torch.equal(outcome.images[0, 0, 0, 0], data.images[0, 0, 0, 0])


@pytest.mark.usefixtures("unfolded")
@pytest.mark.parametrize("attack", [Training(), Moving()])
def test_an_attack_that_changes_the_model_is_recorded_and_undone(attack):
    net = model()
    before = everything(net)
    outcome = run(View(net), attack)
    assert outcome.checks["state_kept"] is False
    assert same(before, everything(net))
    assert torch.equal(outcome.correct, run(View(model()), None).correct)


@pytest.mark.parametrize("channels", [3, 1])
def test_an_attack_that_writes_into_its_input_cannot_move_the_ball(channels):
    # One channel: the layout conversion copies nothing, and a batch is a piece of the data itself.
    x, y = images()
    data = Data(x[:, :channels].clone(), y.clone())
    before = Data(data.images.clone(), data.labels.clone())
    torch.manual_seed(0)
    outcome = run(View(Net(channels).eval()), InPlace(), data=data)
    assert torch.equal(data.images, before.images)
    assert torch.equal(data.labels, before.labels)
    assert outcome.checks["clipped"] > 0
    assert in_ball(outcome, before)


def test_images_of_another_shape_are_refused():
    with pytest.raises(PluginError, match=r"returned images of shape \(10, 3, 5, 6\) for \(10, 3, 6, 6\)"):
        run(View(model()), Cropping())


class Nothing(rs.Attack):
    def perturb(self, model, x, y, threat, generator):
        x.add_(threat.eps)


def test_an_attack_that_returns_nothing_is_refused():
    with pytest.raises(PluginError, match="breaks its contract: it returned NoneType, not a tensor"):
        run(View(model()), Nothing())


@settings(max_examples=30, deadline=None)
@given(eps=st.floats(1e-4, 1), seed=st.integers(0, 99))
def test_the_projection_lands_in_the_ball_and_moves_nothing_that_is_inside(eps, seed):
    x, _ = images()
    threat = rs.Threat(eps=eps)
    anywhere = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    once = project(anywhere, x, threat)
    assert float((once - x).abs().max()) <= eps + 1e-6
    assert 0 <= float(once.min()) <= float(once.max()) <= 1
    assert torch.equal(project(once, x, threat), once)


class Rewriting(rs.Attack):
    def perturb(self, model, x, y, threat, generator):
        with torch.no_grad():
            next(model.parameters()).zero_()
        return x


def test_an_attack_that_changes_the_weights_is_refused():
    with pytest.raises(PluginError, match="breaks its contract: it changed the model's weights"):
        run(View(model()), Rewriting())
