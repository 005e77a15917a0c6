"""What holds for an attack."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import random
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.random_streams import generator, seeded
from robuststack.layers.condition import View
from robuststack.plugin.attack import Attack
from robuststack.plugin.options import marked
from robuststack.plugin.threat import Threat
from robuststack.testing.component import ComponentConformance
from robuststack.testing.network import RUNTIME, THREAT, images, victim

ROUNDING = 1e-6


class AttackConformance(ComponentConformance):
    """The attack stays in its ball, leaves the model alone, repeats itself, and says what it costs."""

    kind = "attack"
    shape: ClassVar[tuple[int, int, int]] = (3, 8, 8)
    num_classes: ClassVar[int] = 10
    radii: ClassVar[tuple[float, ...]] = (0.001, 8 / 255, 0.3, 1.0)

    @classmethod
    def create(cls, kind: str = "", name: str = "", options: Any = None) -> Any:
        """With the values that its options declare for `--smoke`, where `options` does not say otherwise."""
        if kind:
            return super().create(kind, name, options)
        quick = marked(cls.registration().load().Options, "smoke")
        return cls.registry().create(cls.kind, cls.component, {**quick, **cls.options})

    def attacked(self, view: View, threat: Threat = THREAT, seed: int = 0) -> Tensor:
        """What the attack makes of eight images that `view` is right about."""
        x, y = self.right(view)
        with frozen_eval(view), seeded(seed, "conformance"):
            found: Tensor = self.create().perturb(AttackedModel(view, RUNTIME), x, y, threat, generator(x.device, seed))
            return found.detach()

    def right(self, view: View) -> tuple[Tensor, Tensor]:
        """Images, with what the model says of them as their labels."""
        x, _ = images(self.shape, self.num_classes)
        with torch.no_grad(), seeded("labels"):
            return x, view(x).argmax(1)

    def views(self) -> list[View]:
        """Models to attack: a deterministic and a randomised one."""
        return [victim(self.shape, self.num_classes, stochastic=one) for one in (False, True)]

    def test_it_stays_in_the_ball(self) -> None:
        """The host clips too; an attack that needs it loses what it found there."""
        for view in self.views():
            for eps in self.radii:
                x, found = self.right(view)[0], self.attacked(view, Threat(eps=eps))
                assert found.shape == x.shape, f"it returns images of shape {tuple(found.shape)} for {tuple(x.shape)}"
                assert found.dtype == torch.float32, f"it returns {found.dtype}"
                assert torch.isfinite(found).all(), f"eps {eps:g}: it returns pixels that are not finite"
                distance = float((found - x).abs().max())
                assert distance <= eps + ROUNDING, f"eps {eps:g}: it leaves the ball, by {distance - eps:.3g}"
                low, high = float(found.min()), float(found.max())
                assert 0 <= low <= high <= 1, f"eps {eps:g}: it returns pixels from {low:.3g} to {high:.3g}"

    def test_it_leaves_the_model_and_the_images_alone(self) -> None:
        """Weights, buffers, modes and `requires_grad` are as before, and the clean images are not written to."""
        for view in self.views():
            state, (x, y) = copy.deepcopy(view.state_dict()), self.right(view)
            clean = x.clone()
            with frozen_eval(view), seeded("conformance"):
                self.create().perturb(AttackedModel(view, RUNTIME), x, y, THREAT, generator(x.device, 0))
                on = [path for path, one in view.named_parameters() if one.requires_grad]
                assert not on, f"it turns gradients of {on[0]} on"
                assert not any(one.training for one in view.modules()), "it turns train mode on"
            changed = [key for key, value in view.state_dict().items() if not torch.equal(value, state[key])]
            assert not changed, f"it changes the model's {changed[0]}"
            assert all(one.grad is None for one in view.parameters()), "it leaves gradients on the model's parameters"
            assert torch.equal(x, clean), "it writes into the images it is given"

    def test_it_is_a_function_of_its_seed(self) -> None:
        """The generator and torch's default ones serve all that is random; Python's and NumPy's are not touched."""
        for view in self.views():
            before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
            first, again = self.attacked(view), self.attacked(view)
            assert torch.equal(first, again), "two runs with one seed differ"
            after = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
            assert before == after, "it draws from, or seeds, Python's or NumPy's global generator"

    def test_it_hurts(self) -> None:
        """An attack on gradients raises the loss of a model that has them."""
        if not self.create().needs_gradients:
            return
        view = self.views()[0]
        (x, y), found = self.right(view), self.attacked(view)
        with torch.no_grad():
            clean, moved = (float(nn.functional.cross_entropy(view(one), y)) for one in (x, found))
        assert moved > clean, f"the loss falls from {clean:.3g} to {moved:.3g}: is a sign the wrong way round?"

    def test_it_says_whether_it_needs_gradients(self) -> None:
        """`needs_gradients` decides whether a model without gradients is refused before any compute."""
        attack: Attack = self.create()
        view = victim(self.shape, self.num_classes, stochastic=False)
        blind = View(_Blind(view.model))
        x, y = self.right(view)
        try:
            with frozen_eval(blind), seeded("conformance"):
                attack.perturb(AttackedModel(blind, RUNTIME), x, y, THREAT, generator(x.device, 0))
        except RuntimeError as error:
            if "grad" not in str(error):
                raise
            assert attack.needs_gradients, f"needs_gradients is False, but a model without them ends in: {error}"
        else:
            assert not attack.needs_gradients, "needs_gradients is True, but a model without them is attacked too"

    def test_it_prints_nothing(self) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            for view in self.views():
                self.attacked(view)
        assert not out.getvalue(), f"it prints {out.getvalue()[:80]!r}; the progress display owns the terminal"

    def test_its_figures_and_its_cost_are_printed(self) -> None:
        """`figures` stand below every table, `label` heads a column, `image_passes` feeds the estimate of the work."""
        attack: Attack = self.create()
        assert attack.label, "label is empty; it heads the column of a table"
        for stochastic in (False, True):
            figures = attack.figures(THREAT, stochastic)
            assert figures.get("eps") == THREAT.eps, "figures do not give eps; extend those of super()"
            json.dumps(figures)
            odd = [key for key, one in figures.items() if not isinstance(one, (int, float, str))]
            assert not odd, f"the figure {odd[0]!r} is neither a number nor a text"
            passes = attack.image_passes(stochastic)
            assert math.isfinite(passes), f"image_passes is {passes}"
            assert passes >= 0, f"image_passes is {passes}"


class _Blind(nn.Module):
    """A model whose forward pass keeps no graph."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)  # type: ignore[no-any-return]
