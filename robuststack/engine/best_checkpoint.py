"""The best checkpoint of a training run (`train.checkpoint: best`): the epoch that the validation split likes most."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from robuststack.engine.data import Data
from robuststack.engine.evaluate import evaluate
from robuststack.engine.random_streams import stream_seed
from robuststack.engine.runtime import Runtime
from robuststack.plugin.attack import GradientAttack
from robuststack.plugin.defense import Defense
from robuststack.plugin.threat import Threat
from robuststack.suite.recipe import PhaseRecipe


@dataclass(frozen=True)
class BestCheckpoint:
    """The weights of the epoch (1-based) with the highest robust accuracy on the validation split, in percent."""

    ra: float
    epoch: int
    weights: dict[str, Tensor]


def better(best: BestCheckpoint | None, ra: float, epoch: int, model: nn.Module) -> BestCheckpoint:
    """The best checkpoint so far (the earlier one on a tie), or a copy of the weights after this epoch."""
    if best is not None and ra <= best.ra:
        return best
    return BestCheckpoint(ra, epoch, {key: value.detach().clone() for key, value in model.state_dict().items()})


def validation_ra(
    model: nn.Module,
    defense: Defense,
    validation: Data,
    attack: GradientAttack,
    threat: Threat,
    recipe: PhaseRecipe,
    runtime: Runtime,
    seed: int,
    epoch: int,
) -> float:
    """Percent of the validation split that is right under `attack`, at the reference point."""
    view = defense.view(model, defense.reference_setting())
    outcome = evaluate(
        view, view, validation, attack, threat, runtime,
        seed=stream_seed(seed, "validation", epoch), draws=1, batch_size=recipe.batch_size,
    )  # fmt: skip
    return 100 * float(outcome.correct.float().mean())
