"""The one training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.attacks.starts import STARTS
from robuststack.engine.best_checkpoint import BestCheckpoint, better, validation_ra
from robuststack.engine.data import Data, training_batches
from robuststack.engine.free_training import FreePerturbations
from robuststack.engine.overfitting import beyond_one_step, watched
from robuststack.engine.random_streams import generator, seeded
from robuststack.engine.runtime import Runtime
from robuststack.engine.weight_average import WeightAverage
from robuststack.errors import JobFailed
from robuststack.layers.condition import View
from robuststack.layers.folding import Folding, on_folded
from robuststack.layers.normal import TableUse, quantile_table
from robuststack.plugin.attack import GradientAttack, Loss
from robuststack.plugin.dataset import Augmentation
from robuststack.plugin.defense import Defense
from robuststack.plugin.threat import Threat
from robuststack.suite.recipe import PhaseRecipe

SHARE = "lr_share"
"""The key of a parameter group: its learning rate, as a share of the recipe's."""
EpochDone = Callable[[int, Mapping[str, float]], None]


@dataclass
class State:
    """Everything a resumed run needs: the model, the optimiser, and the epochs behind it with what they showed."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: BestCheckpoint | None = None
    average: WeightAverage | None = None
    """The average of the weights, if the recipe wants one."""


class Step:
    """One training batch, as a defense sees it (`plugin.training_step.TrainStep`)."""

    def __init__(
        self,
        model: nn.Module,
        attack: GradientAttack,
        threat: Threat,
        runtime: Runtime,
        epochs: int,
        seed: int,
        images: int | None = None,
    ) -> None:
        self.model = model
        self.epochs = epochs
        self.epoch = 0
        self.x = self.y = torch.empty(0)
        self.loss = torch.zeros((), device=runtime.device)
        self.seen: dict[str, tuple[Tensor, int]] = {}
        self.table = TableUse()
        self.runtime, self.seed = runtime, seed
        self._images = images
        self._attack, self._threat = attack, threat
        self.free = FreePerturbations(threat, attack.step_size(threat)) if attack.replays > 1 else None
        self.attacked = False
        """Whether some step of the epoch trained on attacked images."""
        self._number = self._attacks = 0
        self._folding = Folding()

    @property
    def images(self) -> int:
        return len(self.x) if self._images is None else self._images

    def begin(self, x: Tensor, y: Tensor, epoch: int, number: int) -> None:
        self.x, self.y, self.epoch, self._number, self._attacks = x, y, epoch, number, 0
        self.loss = torch.zeros((), device=x.device)

    def attack(
        self,
        view: View,
        x: Tensor,
        y: Tensor,
        loss: Loss | None = None,
        start: Literal["uniform", "normal", "zero"] | None = None,
    ) -> Tensor:
        self._attacks += 1
        self.attacked = True
        if self.free is not None:
            return self.free.images(self._attacks, x)

        def perturbed(seen: Sequence[View]) -> Tensor:
            attacked = AttackedModel(seen[0], self.runtime)
            source = generator(x.device, self.seed, "start", self.epoch, self._number, self._attacks)
            begin = STARTS[start] if start and not self._attack.own_start else None
            return self._attack.perturb(
                attacked, x, y, self._threat, source, loss=loss, start=begin, early_stop=False
            ).detach()

        with frozen_eval(view):
            adversarial, _ = on_folded([view], [self._folding.of(view, x)], perturbed)
            return adversarial

    def backward(self, loss: Tensor) -> None:
        self.loss = self.loss + loss.detach().float()
        loss.backward()  # type: ignore[no-untyped-call]

    def observe(self, name: str, logits: Tensor, y: Tensor) -> None:
        right, count = self.seen.get(name, (0, 0))
        self.seen[name] = (right + (logits.detach().argmax(1) == y).sum(), count + len(y))


class Passes(Step):
    """The passes of a training step, of which no gradient is kept: they estimate the batch statistics of a model."""

    def backward(self, loss: Tensor) -> None:
        """Nothing: the passes are all that counts."""


def begin(defense: Defense, model: nn.Module, recipe: PhaseRecipe) -> State:
    """The state before the first epoch."""
    groups = defense.parameter_groups(model, recipe.weight_decay)
    return State(model, make_optimizer(groups, recipe), average=WeightAverage.of(model, recipe))


def make_optimizer(groups: list[dict[str, Any]], recipe: PhaseRecipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over a defense's parameter groups. A group's own `lr` is kept as a share of the recipe's: its
    schedule is the same."""
    groups = [{**group, SHARE: group.get("lr", recipe.lr) / recipe.lr} for group in groups]
    if recipe.optimizer == "adamw":
        first, second = recipe.betas
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(first, second), fused=True)
    sgd = torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True)
    if recipe.momentum:
        # The fused step takes momentum of all weights or of none, and some may get their first gradient later than others.
        for weight in (weight for group in sgd.param_groups for weight in group["params"]):
            sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return sgd


def learning_rate(recipe: PhaseRecipe, epoch: int) -> float:
    """The rate of an epoch (0-based): cosine from lr towards 0, or lr * gamma at each milestone passed."""
    if recipe.schedule == "cosine":
        return recipe.lr * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2
    if recipe.schedule == "steps":
        return recipe.lr * recipe.gamma ** sum(epoch >= milestone for milestone in recipe.milestones)
    return recipe.lr


def learn(
    step: Step,
    defense: Defense,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    epoch: int,
    number: int,
    replay: int = 0,
) -> None:
    """One step of the optimiser, on the batch `number` (0-based) of an epoch: images x [N, C, H, W], labels y [N]. `replay`
    (0-based) counts how often the batch was repeated already."""
    step.begin(x, y, epoch, number)
    optimizer.zero_grad(set_to_none=True)
    stream = (step.seed, "step", epoch, number, *([replay] if replay else []))
    with seeded(*stream), step.runtime.autocast(), quantile_table(step.table):
        defense.training_step(step)
    if step.free is not None:
        step.free.move()
    optimizer.step()
    # The fused step changes weights without counting a version, which caches and autograd's checks rely on.
    torch.autograd.graph.increment_version([weight for group in optimizer.param_groups for weight in group["params"]])
    defense.after_step(step.model, optimizer)


def train(
    state: State,
    defense: Defense,
    data: Data,
    attack: GradientAttack,
    threat: Threat,
    recipe: PhaseRecipe,
    runtime: Runtime,
    *,
    seed: int,
    augmentation: Augmentation,
    epoch_done: EpochDone,
    validation: Data | None = None,
    finite: Set[str] | None = None,
) -> State:
    """Train from `state.epoch` to the recipe's last epoch; `epoch_done` is called with each epoch (1-based).

    Where the recipe keeps the best checkpoint, the model ends with the weights of `state.best`, chosen on `validation`.
    `finite` names what of the model's state was finite before any training (`finite_state`); None: what is so now.

    Raises:
        JobFailed: a loss that is not finite, with epoch and step; or some of `finite` that no longer is.
    """
    model, optimizer = state.model, state.optimizer
    step = Step(model, attack, threat, runtime, recipe.epochs, seed, len(data))
    finite = finite_state(model) if finite is None else finite
    seconds = runtime.clock()

    def passes_of(average: nn.Module) -> Step:
        passes = Passes(average, attack, threat, runtime, recipe.epochs, seed, len(data))
        passes.free = step.free  # The average is trained on images that are moved, too.
        return passes

    for epoch in range(state.epoch, recipe.epochs):
        started = seconds()
        for group in optimizer.param_groups:
            group["lr"] = group[SHARE] * learning_rate(recipe, epoch)
        model.train()
        step.seen, step.table, step.attacked = {}, TableUse(), False
        if step.free is not None:
            step.free.perturbations = {}
        losses = []
        batches = training_batches(data, recipe.batch_size, augmentation, seed, epoch)
        for number, (x, y) in enumerate(batches):
            for replay in range(attack.replays):
                learn(step, defense, optimizer, x, y, epoch, number, replay)
                losses.append(step.loss)
                if state.average:
                    state.average.after_step(model)
        loss = _mean_loss(losses, epoch, recipe)
        defense.after_epoch(model, optimizer, epoch, recipe.epochs)
        if state.average:
            state.average.after_epoch(model, epoch)
        state.epoch = epoch + 1
        metrics = {
            "loss": loss,
            "steps": len(losses),
            "table_draws": step.table.draws,
            "seconds": seconds() - started,
        }
        metrics |= {name: 100 * float(right) / count for name, (right, count) in step.seen.items()}
        if attack.steps <= 1 and step.attacked and validation is not None:
            metrics |= watched(model, defense, validation, threat, runtime, seed, state.epoch)
        last = state.epoch == recipe.epochs
        choosing = recipe.checkpoint == "best" and validation is not None
        scored = model
        if state.average and state.average.count and (choosing or last):
            batches = training_batches(data, recipe.batch_size, augmentation, seed, epoch)
            scored = state.average.settled(model, defense, optimizer, passes_of, batches, epoch)
            if last:  # What a run that is killed from here on goes on with.
                state.average.model.load_state_dict(scored.state_dict())
        if choosing and validation is not None and (scored is not model or not state.average):
            judge = beyond_one_step(attack)
            ra = validation_ra(scored, defense, validation, judge, threat, recipe, runtime, seed, state.epoch)
            metrics["validation_ra"] = ra
            state.best = better(state.best, ra, state.epoch, scored)
        state.history.append(metrics)
        epoch_done(epoch + 1, metrics)
    if state.best:
        model.load_state_dict(state.best.weights)
    elif state.average:
        model.load_state_dict(state.average.model.state_dict())
    broken = finite - finite_state(model)
    if broken:
        raise JobFailed(f"{min(broken)} is not finite after epoch {recipe.epochs}; a smaller train.lr may help")
    return state


def _mean_loss(losses: list[Tensor], epoch: int, recipe: PhaseRecipe) -> float:
    # One synchronisation an epoch: the losses stay on the device until here.
    values = torch.stack(losses).cpu()
    if not bool(torch.isfinite(values).all()):
        step = int((~torch.isfinite(values)).nonzero()[0])
        raise JobFailed(
            f"the loss is {float(values[step])} in epoch {epoch + 1}, step {step + 1}; a smaller train.lr than"
            f" {recipe.lr:g} may help"
        )
    return float(values.mean())


def finite_state(model: nn.Module) -> set[str]:
    """The names of what is finite in the model's state: a constant mask of -inf is not."""
    return {name for name, value in model.state_dict().items() if bool(torch.isfinite(value).all())}
