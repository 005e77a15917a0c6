"""OAT: one model conditioned on lambda through FiLM layers and dual norm, batch norm as published."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

import robuststack as rs
from robuststack.layers.branches import ADVERSARIAL, CLEAN
from robuststack_plugins.defenses.two_ends import BetweenTwoEnds

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robuststack.layers.condition import View


class OnceForAll(BetweenTwoEnds):
    """Once-for-all adversarial training: FiLM layers fed with lambda, and dual norm."""

    paper = "Wang et al., Once-for-All Adversarial Training, NeurIPS 2020, arXiv 2010.11828"

    class Options(rs.Options):
        dim: int = rs.option(
            128, "Width d of the encoding of lambda: 1 feeds lambda itself, more is a codebook of orthogonal rows.",
            ge=1, shown=True,
        )  # fmt: skip
        lambdas: list[float] = rs.option([0.0, 0.2, 0.7, 1.0], "The set S that lambda is drawn from in training.")

        @model_validator(mode="after")
        def _usable(self) -> OnceForAll.Options:
            if sorted(set(self.lambdas)) != self.lambdas or len(self.lambdas) < 2 or self.lambdas[0] != 0:
                raise ValueError("lambdas must rise, start at 0 and hold at least one more value")
            if self.lambdas[-1] > 1:
                raise ValueError("lambdas must lie in [0, 1]")
            if 1 < self.dim < len(self.lambdas):
                raise ValueError(f"dim {self.dim} cannot encode {len(self.lambdas)} lambdas by orthogonal rows")
            return self

    min_batch = 2  # At least one sample with lambda 0 and one above.

    def operating_points(self) -> list[rs.Point]:
        return [{"lambda": value} for value in self.options.lambdas]

    def reference_point(self) -> rs.Point:
        return {"lambda": self.options.lambdas[-1]}

    def check_point(self, point: rs.Point) -> None:
        if self.options.dim > 1 and point["lambda"] not in self.options.lambdas:
            trained = ", ".join(f"{value:g}" for value in self.options.lambdas)
            raise ValueError(
                f"lambda {point['lambda']:g} has no row in the codebook; trained: {trained} (dim: 1 takes any lambda)"
            )

    def image_passes(self, steps: int) -> float:
        attacked = 1 - 1 / len(self.options.lambdas)
        return 3.0 + attacked * (3.0 + 2.0 * steps)

    def build(self, architecture: rs.Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.codebook import add_codebook
        from robuststack.layers.condition import Condition, attach
        from robuststack.layers.dual_norm import DualNorm, dualise
        from robuststack.layers.film import modulate

        condition = Condition("branch", "split", "code")
        model = dualise(architecture.build(shape, num_classes), condition)
        modulate(model, DualNorm, self.options.dim, condition)
        return attach(add_codebook(model, self.options.dim), condition)

    def training_step(self, step: rs.TrainStep) -> None:
        """Each sample with a lambda of its own: L = mean_i [(1 - lambda_i) CE(clean_i) + lambda_i CE(adversarial_i)]."""
        self._passes(step, *self._draw(step))

    def _draw(self, step: rs.TrainStep) -> tuple[int, Tensor]:
        """How many samples get lambda 0, the first ones; and the position of each sample's lambda in the set [B]."""
        import torch

        lambdas = self.options.lambdas
        batch = step.x.shape[0]
        zeros = math.ceil(batch / len(lambdas))
        index = torch.zeros(batch, dtype=torch.long, device=step.x.device)
        index[zeros:] = torch.randint(1, len(lambdas), (batch - zeros,), device=step.x.device)
        return zeros, index

    def _passes(self, step: rs.TrainStep, zeros: int, index: Tensor, **values: Any) -> None:
        """Forward and backward passes of the batch at the lambdas drawn; `values` are what the views hold besides."""
        import torch
        from torch.nn import functional

        from robuststack.layers.codebook import encode

        weight = torch.tensor(self.options.lambdas, device=step.x.device)[index]
        code = encode(step.model, self.options.lambdas, index)

        clean = _view(step.model, code, split=zeros, **values)(step.x)
        step.observe("ca", clean, step.y)
        step.backward(((1 - weight) * functional.cross_entropy(clean, step.y, reduction="none")).mean())

        # Only samples with lambda > 0 are attacked, each at its own lambda; the mean is still over the whole batch.
        x, y = step.x[zeros:], step.y[zeros:]
        view = _view(step.model, code[zeros:], branch=ADVERSARIAL, **values)
        adversarial = view(step.attack(view, x, y))
        step.observe("ra", adversarial, y)
        losses = functional.cross_entropy(adversarial, y, reduction="none")
        step.backward((weight[zeros:] * losses).sum() / step.x.shape[0])

    def setting(self, point: rs.Point) -> rs.Setting:
        branch = CLEAN if point["lambda"] == 0 else ADVERSARIAL
        return rs.Setting({"branch": branch, "lambda": point["lambda"]})

    def view(self, model: nn.Module, setting: rs.Setting) -> View:
        import torch

        from robuststack.layers.codebook import encode

        values = dict(setting.values)
        value = values.pop("lambda")
        device = next(model.parameters()).device
        if self.options.dim == 1:
            code = torch.full((1, 1), float(value), device=device)
        else:
            code = encode(model, self.options.lambdas, torch.tensor([self.options.lambdas.index(value)], device=device))
        return _view(model, code, **values)


def _view(model: nn.Module, code: Tensor, **values: Any) -> View:
    from robuststack.layers.condition import View

    return View(model, {**values, "code": code})
