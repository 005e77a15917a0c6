"""An attack broken for each check of its kit."""

from __future__ import annotations

import random

import numpy as np
import torch

from robuststack.testing.network import TwoSteps
from sound_components import UNSEEDED


def perturb(function):
    """The good attack, its images changed: `function(model, x, found)`."""

    def changed(self, model, x, y, threat, generator):
        return function(model, x, TwoSteps.perturb(self, model, x, y, threat, generator))

    return changed


def spoiling(model, x, adversarial):
    x += 0.1
    return adversarial


def unfreezing(model, x, adversarial):
    next(model.parameters()).requires_grad_(True)
    return adversarial


def writing(model, x, adversarial):
    next(model.buffers()).add_(1)
    return adversarial


def chatting(model, x, adversarial):
    print("step 1")
    return adversarial


def in_linf_only(model, x, adversarial):
    return (x + 0.01 * torch.ones_like(x)).clamp(0, 1)


def counted_start(self, x, threat, generator):
    """Momentum made where a run starts, which is not where a training step starts."""
    self.velocity = torch.zeros_like(x)
    return TwoSteps.start(self, x, threat, generator)


def counted_loss(self, logits, y):
    self.velocity = 0
    return TwoSteps.loss(self, logits, y)


def counted_update(self, iterate, gradient, step, ball, state):
    self.velocity = getattr(self, "velocity", 0) + ball.steepest(gradient)
    return iterate + step * ball.steepest(self.velocity)


def lingering_update(self, iterate, gradient, step, ball, state):
    self.number = getattr(self, "number", 0) + 1
    return iterate + step / self.number * ball.steepest(gradient)


def batchwise_update(self, iterate, gradient, step, ball, state):
    return iterate + step * len(iterate) / 8 * ball.steepest(gradient)


def blind(self, model, x, y, threat, generator):
    model(x)
    return x + threat.eps * torch.ones_like(x).uniform_(-1, 1, generator=generator) * 0


ATTACK = [
    ("it_stays_in_the_ball", {"perturb": perturb(lambda model, x, images: images[:1])}, r"returns images of shape \(1, 3"),
    ("it_stays_in_the_ball", {"perturb": perturb(lambda model, x, images: images.double())}, "returns torch.float64"),
    ("it_stays_in_the_ball", {"perturb": perturb(lambda model, x, images: images / 0)}, "pixels that are not finite"),
    ("it_stays_in_the_ball", {"perturb": perturb(lambda model, x, images: (2 * images - x).clamp(0, 1))},
     "linf, eps 0.001: it leaves the ball, by 0.001"),
    ("it_stays_in_the_ball", {"norms": ("l2",), "perturb": perturb(in_linf_only)},
     "l2, eps 0.01: it leaves the ball, by 0.1"),
    ("it_stays_in_the_ball", {"perturb": perturb(lambda model, x, images: x - 0.001)}, "returns pixels from -0.00"),
    ("it_leaves_the_model_and_the_images_alone", {"perturb": perturb(spoiling)}, "writes into the images"),
    ("it_leaves_the_model_and_the_images_alone", {"perturb": perturb(unfreezing)}, "turns gradients of .* on"),
    ("it_leaves_the_model_and_the_images_alone", {"perturb": perturb(writing)}, "changes the model's .*running_mean"),
    ("it_leaves_the_model_and_the_images_alone",
     {"perturb": perturb(lambda model, x, images: model.train() and images)}, "turns train mode on"),
    ("it_is_a_function_of_its_seed", {"perturb": perturb(lambda model, x, images: images * UNSEEDED.random())},
     "two runs with one seed differ"),
    ("it_is_a_function_of_its_seed", {"perturb": perturb(lambda model, x, images: (np.random.seed(0), images)[1])},
     "draws from, or seeds, Python's or NumPy's"),
    ("it_is_a_function_of_its_seed", {"perturb": perturb(lambda model, x, images: (random.random(), images)[1])},
     "draws from, or seeds, Python's or NumPy's"),
    ("it_hurts", {"update": lambda self, iterate, gradient, step, ball, state: iterate - step * ball.steepest(gradient)},
     "is a sign the wrong way round"),
    ("it_hurts", {"norms": ("l2",), "update": lambda self, iterate, gradient, step, ball, state: iterate - step * gradient},
     "is a sign the wrong way round"),
    ("a_training_step_may_replace_its_start_and_its_loss", {"start": counted_start, "update": counted_update},
     "an earlier call changes what it returns"),
    ("a_training_step_may_replace_its_start_and_its_loss", {"loss": counted_loss, "update": counted_update},
     "an earlier call changes what it returns"),
    ("a_call_is_not_changed_by_calls_before_it", {"update": lingering_update}, "an earlier call changes what it returns"),
    ("images_that_leave_the_batch_change_no_other", {"early_stop": True, "update": batchwise_update},
     "images that are still attacked move by"),
    ("it_says_whether_it_needs_gradients", {"needs_gradients": False}, "needs_gradients is False, but"),
    ("it_says_whether_it_needs_gradients", {"perturb": blind}, "needs_gradients is True, but"),
    ("it_prints_nothing", {"perturb": perturb(chatting)}, r"it prints 'step 1\\n"),
    ("its_figures_and_its_cost_are_printed", {"label": ""}, "label is empty"),
    ("its_figures_and_its_cost_are_printed", {"figures": lambda self, threat, stochastic: {}}, "figures do not give eps"),
    ("its_figures_and_its_cost_are_printed",
     {"figures": lambda self, threat, stochastic: {"eps": threat.eps, "steps": [1]}}, "the figure 'steps' is neither"),
    ("its_figures_and_its_cost_are_printed", {"image_passes": lambda self, stochastic: -1.0}, "image_passes is -1.0"),
]  # fmt: skip
