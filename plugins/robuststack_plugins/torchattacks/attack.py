"""One component for every attack of torchattacks."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field, create_model, model_validator

import robuststack as rs
from robuststack.did_you_mean import did_you_mean
from robuststack.plugin.options import InvalidOptions, parse
from robuststack_plugins.torchattacks.table import (
    ATTACKS,
    COUNTS,
    EXCLUDED,
    GRADIENT_FREE,
    LENGTHS,
    NORMS,
    PROBABILITIES,
    SQUARE_IMAGES,
    SUPPLIED,
    THREE_CHANNELS,
    WITHOUT_RADIUS,
    Default,
)

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from robuststack.attacks import AttackedModel
    from robuststack.plugin.threat import Norm


class TorchAttack(rs.Attack):
    """An attack of the torchattacks library, named by its class: torchattacks:PGD.

    Its options are the library's, with the library's defaults, which differ from those of the attacks of the same name
    here. The library has no EOT but in the attacks with an `eot_iter`: others see one draw a step. CW and DeepFool look for
    the nearest adversarial image, without a radius: one that is outside of the ball is moved onto its surface.
    """

    paper = "Kim, Torchattacks: A PyTorch Repository for Adversarial Attacks, 2020, arXiv 2010.01950"
    draws_option = "eot_iter"

    class Options(rs.Options):
        model_config = ConfigDict(extra="allow")

        attack: str = rs.option("PGD", "The library's class, by the component's name; its parameters are options too.")

        @model_validator(mode="before")
        @classmethod
        def completed(cls, data: dict[str, Any]) -> dict[str, Any]:
            """The library's options, checked, with its defaults."""
            given = {"attack": "PGD", **data}
            name = given.pop("attack")
            if name in EXCLUDED:
                raise InvalidOptions(f"torchattacks.{name} is not offered: {EXCLUDED[name]}", ("attack",))
            if name not in ATTACKS:
                raise InvalidOptions(f"torchattacks has no {name!r}: {did_you_mean(name, ATTACKS)}", ("attack",))
            for key in SUPPLIED.keys() & given.keys():
                raise InvalidOptions(f"{key!r} is no option: {SUPPLIED[key]}", (key,))
            return {"attack": name, **parse(_model(name), given).resolved()}

    def __init__(self, options: rs.Options | None = None) -> None:
        super().__init__(options)
        if importlib.util.find_spec("torchattacks") is None:
            message = "needs the torchattacks library: python -m pip install 'robuststack[torchattacks]'"
            raise rs.PluginError(f"attack 'torchattacks:{self.options.attack}' {message}")

    @property
    def fingerprint(self) -> str:
        """The library's version: what its attacks find is its own, and may change."""
        return f"torchattacks {importlib.metadata.version('torchattacks')}"

    @property
    def needs_gradients(self) -> bool:  # type: ignore[override]
        return self.options.attack not in GRADIENT_FREE

    @property
    def norms(self) -> tuple[Norm, ...]:  # type: ignore[override]
        return NORMS.get(self.options.attack, ("linf",))

    def draws(self, stochastic: bool) -> int:
        """The library averages on every model."""
        return super().draws(True)

    @property
    def min_classes(self) -> int:  # type: ignore[override]
        """The difference of logits ratio needs three classes, the targeted one four."""
        if self.options.attack == "APGDT":
            return 4
        return 3 if getattr(self.options, "loss", None) == "dlr" else 2

    def check_threat(self, threat: rs.Threat) -> None:
        alpha = getattr(self.options, "alpha", None)
        if alpha is not None:
            threat.check_step("alpha", alpha)

    def check_shape(self, shape: tuple[int, int, int]) -> None:
        channels, height, width = shape
        if self.options.attack in THREE_CHANNELS and channels != 3:
            raise ValueError(f"knows images of 3 channels only, not of {channels}")
        if self.options.attack in SQUARE_IMAGES and height != width:
            raise ValueError(f"knows square images only, not of {height} x {width}")

    def image_passes(self, stochastic: bool) -> float:
        options = self.options.resolved()
        if self.options.attack == "SPSA":
            return float(2 * options["nb_iter"] * options["nb_sample"])
        if self.options.attack == "DeepFool":  # A gradient of each class a step, ten classes assumed.
            return float(options["steps"] * (1 + 10))
        passes = 1 if self.options.attack in GRADIENT_FREE else 2
        return float(passes * math.prod(options[key] for key in COUNTS if key in options))

    def perturb(self, model: AttackedModel, x: Tensor, y: Tensor, threat: rs.Threat, generator: Generator) -> Tensor:
        import inspect

        import torch
        import torchattacks

        from robuststack.attacks import project, seeded_from

        options = self.options.resolved()
        name = options.pop("attack")
        try:
            self.check_shape((x.shape[1], x.shape[2], x.shape[3]))
        except ValueError as error:
            raise rs.PluginError(f"attack 'torchattacks:{name}' {error}") from None
        cls = getattr(torchattacks, name)
        # UPGD's margin loss makes a matrix on the default device, and indexes it by the labels.
        there = torch.device(x.device) if name == "UPGD" else nullcontext()
        with torch.enable_grad(), there, seeded_from(generator) as seed:
            supplied = {
                "eps": threat.eps,
                "max_epsilon": threat.eps,
                "norm": {"linf": "Linf", "l2": "L2"}[threat.norm],
                "n_classes": model(x[:1]).shape[1],
                "seed": seed,
                "verbose": False,
            }
            known = inspect.signature(cls).parameters
            attack = cls(model, **options, **{key: value for key, value in supplied.items() if key in known})
            attack.set_device(x.device)
            # The library views images as rows, which a channels-last layout does not allow.
            images: Tensor = attack(x.contiguous(), y).detach()
        return project(images, x, threat) if name in WITHOUT_RADIUS else images


@cache
def _model(name: str) -> type[rs.Options]:
    """The options of one class, as the table has them."""
    fields: dict[str, Any] = {key: _field(key, default) for key, default in ATTACKS[name].items()}
    return create_model(name, __base__=rs.Options, **fields)


def _field(key: str, default: Default) -> tuple[Any, Any]:
    if isinstance(default, tuple):
        return Literal[default], default[0]
    if isinstance(default, bool):
        return bool, default
    if isinstance(default, int):
        return int, Field(default, ge=1)
    if key in PROBABILITIES:
        return rs.Number, Field(default, ge=0, le=1)
    # A step of no length finds nothing, and one backwards lowers the loss.
    return rs.Number, Field(default, gt=0) if key in LENGTHS else Field(default, ge=0)
