"""How models are trained: the `train` section of a suite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer, model_validator

from robuststack.plugin.options import Number, option
from robuststack.suite.part import One, Part
from robuststack.suite.section import Section

OPTIMISER_KEYS: Mapping[str, tuple[str, ...]] = {"sgd": ("momentum", "nesterov"), "adamw": ("betas",)}
"""Optimiser -> the keys that no other has."""
OPTIMISER_DEFAULTS: Mapping[str, Mapping[str, float]] = {"sgd": {}, "adamw": {"lr": 1e-3, "weight_decay": 1e-2}}
"""Optimiser -> the keys that every one has, where its default differs from the field's."""


class PhaseRecipe(Section):
    """How a phase of training goes: every key but those that all phases share."""

    epochs: int = option(200, "Passes over the training images.", ge=1)
    batch_size: int = option(128, "Images a step; the last partial batch of an epoch is dropped.", ge=1)
    optimizer: Literal["sgd", "adamw"] = option(
        "sgd", "SGD with momentum and an L2 penalty, or AdamW (Loshchilov and Hutter 2019) with decoupled weight decay."
    )
    lr: float = option(0.1, "Initial learning rate; default with adamw: 0.001.", gt=0)
    momentum: float = option(0.9, "With `sgd`: the momentum.", ge=0, lt=1)
    nesterov: bool = option(False, "With `sgd`: Nesterov's momentum.")
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = option(
        [0.9, 0.999],
        "With `adamw`: the decay of the running means of gradients and of their squares.",
        min_length=2,
        max_length=2,
    )
    weight_decay: float = option(5e-4, "L2 penalty, or AdamW's weight decay; default with adamw: 0.01.", ge=0)
    schedule: Literal["cosine", "steps", "constant"] = option("cosine", "Learning rate over the epochs.")
    milestones: list[Annotated[int, Field(ge=1)]] = option(
        [], "With `steps`: the epochs at which the learning rate is multiplied by gamma."
    )
    gamma: float = option(0.1, "With `steps`: the factor.", gt=0)
    checkpoint: Literal["last", "best"] = option(
        "last",
        "The weights to keep: of the last epoch, or of the one with the best robust accuracy on the validation split"
        " under the training attack (PGD-10 if that takes one step or none), at the defense's reference point. Never chosen"
        " on test.",
    )

    average: Literal["none", "ema", "swa"] = option(
        "none",
        "The weights that are scored: those of an epoch, or an average over the run up to it. `ema` is an exponential"
        " moving average over steps, `swa` the mean over the last epochs (Izmailov 2018). Batch statistics of the average"
        " are estimated on training batches.",
    )
    average_decay: float = option(
        0.999,
        "With `ema`: the weight of the average in step n, or (1 + n) / (10 + n) if that is less.",
        gt=0,
        lt=1,
    )
    average_from: int | None = option(
        None, "With `swa`: the first epoch that counts; default: behind three quarters of the epochs.", ge=1
    )

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    @model_validator(mode="after")
    def _keys_of_the_average(self) -> Self:
        if self.average != "ema" and "average_decay" in self.model_fields_set:
            raise ValueError("average_decay is a key of average: ema")
        if self.average_from is not None:
            if self.average != "swa":
                raise ValueError("average_from is a key of average: swa")
            if self.average_from > self.epochs:
                raise ValueError(f"average_from {self.average_from} is behind the last epoch, {self.epochs}")
        return self

    @model_validator(mode="after")
    def _defaults_of_the_optimiser(self) -> Self:
        # Past pydantic's own attributes, so that what nobody wrote does not count as written.
        for key, value in OPTIMISER_DEFAULTS[self.optimizer].items():
            if key not in self.model_fields_set:
                self.__dict__[key] = value
        return self

    @model_serializer(mode="wrap")
    def _leave_out_what_is_off(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        if info.context and info.context.get("written"):
            return data
        return {key: value for key, value in data.items() if key not in self._off()}

    def _off(self) -> set[str]:
        """The keys that mean nothing in this recipe. They stand in no specification and in no row."""
        off = {"none": {"average", "average_decay", "average_from"}, "ema": {"average_from"}, "swa": {"average_decay"}}
        return off[self.average]

    @property
    def first_averaged(self) -> int:
        """The first epoch (1-based) whose weights `swa` averages."""
        return self.average_from or math.floor(0.75 * self.epochs) + 1

    @property
    def average_text(self) -> str:
        """How the scored weights were averaged; empty if they are no average."""
        if self.average == "none":
            return ""
        how = f"decay {self.average_decay:g}" if self.average == "ema" else f"from epoch {self.first_averaged}"
        return f"{self.average}, {how}"

    def resolved(self) -> dict[str, Any]:
        """Every key that the recipe's optimiser has, with its value."""
        others = {key for optimiser, keys in OPTIMISER_KEYS.items() if optimiser != self.optimizer for key in keys}
        return {key: value for key, value in super().resolved().items() if key not in others}

    def written(self) -> dict[str, Any]:
        """Only the keys that were written: `average: none` too, which switches off what another section says."""
        return self.model_dump(exclude_unset=True, context={"written": True})


class Recipe(PhaseRecipe):
    """How models are trained."""

    eps: Number | None = option(
        None, "Radius of the training attack; default: the threat model's. With it, one model serves several radii."
    )
    attack: One = option(
        Part(name="pgd", options={"steps": 7, "step": "oat"}), "The training attack; it must be a gradient attack."
    )
    phases: dict[str, PhaseRecipe] = option(
        {},
        "Phase -> keys that replace the others in that phase, for defenses that train in several;"
        " `robuststack show defense NAME` lists them.",
    )

    def resolved(self) -> dict[str, Any]:
        phases = {name: phase.resolved() for name, phase in self.phases.items()}
        return {**super().resolved(), **({"phases": phases} if phases else {})}

    @property
    def shared(self) -> PhaseRecipe:
        """What every phase starts from."""
        keys = PhaseRecipe.model_fields.keys() - self._off()
        return PhaseRecipe(**{key: getattr(self, key) for key in keys})

    def _off(self) -> set[str]:
        return super()._off() | (set() if self.phases else {"phases"})


def merged(defense: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A suite's keys over those of a `Defense.recipe`. Of these, the optimiser's (its rate, decay and own keys) were chosen
    for the optimiser that the defense has in mind, and go with it where the suite names another."""
    own = defense.get("optimizer", "sgd")
    if given.get("optimizer", own) != own:
        optimisers = {"optimizer", "lr", "weight_decay", *(key for keys in OPTIMISER_KEYS.values() for key in keys)}
        defense = {key: value for key, value in defense.items() if key not in optimisers}
    return {**defense, **given}


def misplaced(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first of the `given` keys that belongs to another optimiser than the `recipe`'s, and what to say of it."""
    optimizer = recipe.get("optimizer", "sgd")
    for other, keys in OPTIMISER_KEYS.items():
        for key in keys if other != optimizer else ():
            if key in given:
                valid = ", ".join((*OPTIMISER_KEYS[optimizer], "lr", "weight_decay"))
                return key, f"{key} is a key of optimizer {other}, and this recipe has {optimizer}; it knows {valid}"
    return None
