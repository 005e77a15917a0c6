"""The parts of a suite: a component by its name, with its options."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo, field_validator, model_validator

from robuststack.plugin.options import Number, option
from robuststack.plugin.threat import NORM, Norm, check_radius
from robuststack.suite.part import Part, Sweep, many
from robuststack.suite.recipe import Recipe
from robuststack.suite.report import listed
from robuststack.suite.section import Section

RESERVED_LABELS = ("ca", "clean", "worst")


class ThreatSpec(Section):
    """The threat model."""

    norm: Norm = option("linf", NORM)
    eps: Number | None = option(
        None, "Radius in the [0, 1] pixel range, `8/255` is accepted; default: the dataset's, which is for linf."
    )

    @field_validator("eps")
    @classmethod
    def _radius(cls, eps: float | None, info: ValidationInfo) -> float | None:
        return eps if eps is None else check_radius(eps, info.data.get("norm"))


class ThreatChange(ThreatSpec):
    """What a dataset changes of the threat model."""

    norm: Norm | None = option(None, NORM)  # type: ignore[assignment]


class DatasetPart(Part):
    """A dataset, and what it changes of the suite's threat model and recipe."""

    threat: ThreatChange = option(ThreatChange(), "Keys that replace the suite's threat model for this dataset.")
    train: Recipe = option(Recipe(), "Keys that replace the suite's recipe for this dataset.")
    architectures: Annotated[list[Part], many(Part)] = option([], "Networks for this dataset, in place of the suite's.")
    stand_in: int | None = option(
        None,
        "How many made-up images a split to run on, of the dataset's shape, in place of its own; no download.",
        ge=1,
    )


class WeightsFile(Section):
    """A file of weights, and which of its state dicts is meant if it holds several."""

    file: str = option("", "A .safetensors file or a PyTorch checkpoint; `~` is the home directory.", min_length=1)
    key: str | None = option(
        None,
        "Where in the file the weights are, such as `state_dict_ema`; dots lead further in. Default: found.",
        min_length=1,
    )


def _weights_file(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


class ModelSource(Section):
    """A finished model, evaluated in place of one that is trained here."""

    load: Annotated[
        WeightsFile | None, BeforeValidator(_weights_file, json_schema_input_type=str | WeightsFile | None)
    ] = option(
        None,
        "Weights of the defense's form of the architecture: a .safetensors file or a PyTorch checkpoint, or"
        " `{file: FILE, key: KEY}` for one that holds several.",
    )
    python: str | None = option(
        None,
        "`package.module:function`, which is called without arguments and returns the model: a torch.nn.Module, or a"
        " function of images.",
    )
    stochastic: bool = option(
        False,
        "The model draws noise in its forward pass, in eval mode too: it is scored on `evaluate.draws` draws, and attacks"
        " average gradients over their own `draws` (EOT).",
    )

    @property
    def text(self) -> str:
        """The file or the function, as the suite writes it."""
        return self.python or (self.load.file if self.load else "")

    @field_validator("python")
    @classmethod
    def _place(cls, python: str | None) -> str | None:
        if python is not None and not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", python):
            file = re.fullmatch(r"(?:\./)?([\w/]+)\.py:(\w+)", python)
            meant = f"{file[1].replace('/', '.')}:{file[2]}" if file else "package.module:function"
            raise ValueError(f"{python!r} names no function; write {meant}")
        return python

    @model_validator(mode="after")
    def _one_of_both(self) -> ModelSource:
        if (self.load is None) == (self.python is None):
            raise ValueError("give either load (a file of weights) or python (package.module:function)")
        return self


def _points(value: object) -> object:
    if not isinstance(value, (dict, list)):
        return value
    return [{key: listed(values) for key, values in grid.items()} if isinstance(grid, dict) else grid
            for grid in (value if isinstance(value, list) else [value])]  # fmt: skip


class DefensePart(Part):
    """A defense, the operating points to evaluate it at, and what it changes of the recipe."""

    points: Annotated[
        list[Sweep], BeforeValidator(_points, json_schema_input_type=dict[str, Any] | list[dict[str, Any]])
    ] = option([], "Knob -> value or list of values; the product is evaluated. A list of such mappings is their union.")
    train: Recipe = option(Recipe(), "Keys that replace the suite's recipe for this defense.")
    model: ModelSource | None = option(None, "A finished model, evaluated in place of one that is trained here.")


class AttackPart(Part):
    """An attack; `label` names its column."""

    label: str | None = option(None, "The column's name in the leaderboard; default: the attack's own.", min_length=1)

    @field_validator("label")
    @classmethod
    def _free(cls, label: str | None) -> str | None:
        if label in RESERVED_LABELS:
            raise ValueError(f"{label!r} is a name of the leaderboard's own; choose another")
        return label
