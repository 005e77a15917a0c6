"""The training step of FLOAT and what is built on it: one half of a batch clean, the other adversarial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import robuststack as rs
from robuststack.layers.branches import ADVERSARIAL, CLEAN
from robuststack_plugins.defenses.weight_perturbation import PASSES, perturbed_weights

if TYPE_CHECKING:
    from torch import nn

    from robuststack.layers.condition import View

Recipe = Literal["paper", "code"]


def recipe_option() -> Any:
    return rs.option(
        "paper",
        "`paper` is Algorithm 1: one half of the batch clean, the other adversarial. `code` is the reference code:"
        " all images clean (the second half through the adversarial branch), and the second half adversarial too.",
    )


def image_passes(recipe: Recipe, steps: int, awp: float = 0.0) -> float:
    """Work of `train_halves` per image, as `Defense.image_passes` counts it."""
    clean = 3.0 if recipe == "code" else 1.5
    return clean + 1.5 + steps + (PASSES / 2 if awp else 0.0)


def train_halves(
    step: rs.TrainStep, recipe: Recipe, clean: Mapping[str, Any], robust: Mapping[str, Any], awp: float = 0.0
) -> None:
    """The passes of one batch, forward and backward: L = 0.5 CE(clean) + 0.5 CE(adversarial), each a mean over its half
    (FLOAT, Algorithm 1), or 0.5 mean_B(clean) + 0.25 mean_{B/2}(adversarial) (`code`).

    `clean` and `robust` are what the two views hold besides their branch. The attack runs against the robust view. With
    `awp` the adversarial part is that of weights which were moved by so much to raise it.
    """
    from torch.nn import functional

    half = step.x.shape[0] // 2
    robust_view = _view(step.model, branch=ADVERSARIAL, **robust)
    if recipe == "paper":
        clean_view, clean_x, clean_y = _view(step.model, branch=CLEAN, **clean), step.x[:half], step.y[:half]
        weights = 0.5, 0.5
    else:
        clean_view, clean_x, clean_y = _view(step.model, split=half, **clean), step.x, step.y
        weights = 0.5, 0.25
    logits = clean_view(clean_x)
    step.observe("ca", logits, clean_y)
    step.backward(weights[0] * functional.cross_entropy(logits, clean_y))

    x, y = step.x[half:], step.y[half:]
    attacked = step.attack(robust_view, x, y)
    with perturbed_weights(step.model, awp, lambda: functional.cross_entropy(robust_view(attacked), y)):
        adversarial = robust_view(attacked)
        step.observe("ra", adversarial, y)
        step.backward(weights[1] * functional.cross_entropy(adversarial, y))


def _view(model: nn.Module, **values: Any) -> View:
    from robuststack.layers.condition import View

    return View(model, values, stochastic=values.get("noise", 0.0) > 0)
