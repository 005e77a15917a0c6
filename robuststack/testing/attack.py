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
from robuststack.attacks.ball import Ball
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.attacks.margins import margin
from robuststack.attacks.starts import zero_start
from robuststack.engine.random_streams import generator, seeded
from robuststack.layers.condition import View
from robuststack.plugin.attack import Attack, GradientAttack
from robuststack.plugin.options import marked
from robuststack.plugin.threat import Norm, Threat
from robuststack.testing.component import ComponentConformance
from robuststack.testing.network import RUNTIME, images, victim

RADII: dict[Norm, tuple[float, ...]] = {"linf": (0.001, 8 / 255, 0.3, 1.0), "l2": (0.01, 0.5, 3.0)}
USUAL: dict[Norm, float] = {"linf": 0.1, "l2": 1.0}


class AttackConformance(ComponentConformance):
    """The attack stays in its ball in each norm that it declares, leaves the model alone, repeats itself, and says what it
    costs."""

    kind = "attack"
    shape: ClassVar[tuple[int, int, int]] = (3, 8, 8)
    num_classes: ClassVar[int] = 10
    radii: ClassVar[dict[Norm, tuple[float, ...]]] = RADII
    """The radii that each norm is checked at."""

    @classmethod
    def create(cls, kind: str = "", name: str = "", options: Any = None) -> Any:
        """With the values that its options declare for `--smoke`, unless `options` gives others."""
        if kind:
            return super().create(kind, name, options)
        quick = marked(cls.registration().load().Options, "smoke")
        return cls.registry().create(cls.kind, cls.component, {**quick, **cls.options})

    @classmethod
    def threats(cls) -> list[Threat]:
        """A usual threat in each norm that the attack declares."""
        attack: Attack = cls.create()
        return [Threat(norm=norm, eps=USUAL[norm]) for norm in attack.norms]

    def attacked(self, view: View, threat: Threat, seed: int = 0) -> Tensor:
        """What the attack makes of eight images that `view` is right about."""
        x, y = self.right(view)
        with frozen_eval(view), seeded(seed, "conformance"):
            model = AttackedModel(view, RUNTIME)
            images: Tensor = self.create().perturb(model, x, y, threat, generator(x.device, seed))
            return images.detach()

    def right(self, view: View) -> tuple[Tensor, Tensor]:
        """Images, with what the model says of them as their labels."""
        x, _ = images(self.shape, self.num_classes)
        with torch.no_grad(), seeded("labels"):
            return x, view(x).argmax(1)

    def views(self) -> list[View]:
        """Models to attack: a deterministic and a randomised one."""
        return [victim(self.shape, self.num_classes, stochastic=stochastic) for stochastic in (False, True)]

    def test_it_stays_in_the_ball(self) -> None:
        """The host clips too; an attack that needs it loses what it reached there. One that serves training only, and a
        natural shift, may leave the ball, but not the range of pixels."""
        free = self.create().training_only or self.create().natural
        for norm in self.create().norms:
            for view in self.views():
                for eps in self.radii[norm]:
                    threat = Threat(norm=norm, eps=eps)
                    x, adversarial = self.right(view)[0], self.attacked(view, threat)
                    shape = tuple(adversarial.shape)
                    assert shape == x.shape, f"it returns images of shape {shape} for {tuple(x.shape)}"
                    assert adversarial.dtype == torch.float32, f"it returns {adversarial.dtype}"
                    assert torch.isfinite(adversarial).all(), f"eps {eps:g}: it returns pixels that are not finite"
                    ball = Ball.of(x, threat)
                    distance = float(ball.length(adversarial - x).max())
                    assert free or distance <= eps + ball.slack, (
                        f"{norm}, eps {eps:g}: it leaves the ball, by {distance - eps:.3g}"
                    )
                    low, high = float(adversarial.min()), float(adversarial.max())
                    assert 0 <= low <= high <= 1, f"eps {eps:g}: it returns pixels from {low:.3g} to {high:.3g}"

    def test_a_training_step_may_replace_its_start_and_its_loss(self) -> None:
        """TRADES starts elsewhere and climbs another loss: nothing of a run may be prepared in `start` or in `loss`."""
        attack = self.create()
        if not isinstance(attack, GradientAttack):
            return
        for view in self.views():
            x, y = self.right(view)
            for threat in self.threats():
                adversarial = self._replaced(attack, view, x, y, threat)
                assert adversarial.shape == x.shape, f"it returns images of shape {tuple(adversarial.shape)}"
                assert torch.isfinite(adversarial).all(), "from another start it returns pixels that are not finite"
                fresh = self._replaced(self.create(), view, x, y, threat)
                assert torch.equal(adversarial, fresh), "an earlier call changes what it returns: keep it in `state`"

    def test_a_call_is_not_changed_by_calls_before_it(self) -> None:
        """One instance attacks all batches: what it keeps from step to step belongs to a call."""
        attack: Attack = self.create()
        view = self.views()[0]
        x, y = self.right(view)
        for threat in self.threats():
            first, _, again = (
                self._plain(attack, view, x[:count], y[:count], threat) for count in (len(x), len(x) // 2, len(x))
            )
            assert torch.equal(first, again), "an earlier call changes what it returns: keep it in `state`"

    def test_images_that_leave_the_batch_change_no_other(self) -> None:
        """With an early stop, images that the model gets wrong leave, and what is kept for each image goes with them."""
        attack = self.create()
        if not isinstance(attack, GradientAttack) or not attack.early_stop or attack.restarts > 1:
            return
        view = self.views()[0]
        x, y = self.right(view)
        y[::2] = (y[::2] + 1) % self.num_classes  # Wrong from the start.
        for threat in self.threats():
            early, whole = (self._replaced(attack, view, x, y, threat, early_stop=stop) for stop in (True, False))
            with torch.no_grad():
                robust = view(early).argmax(1) == y
            apart = float((early - whole)[robust].abs().max()) if bool(robust.any()) else 0.0
            assert apart < 1e-4, f"images that are still attacked move by {apart:.3g} if others leave the batch"

    def _plain(self, attack: Attack, view: View, x: Tensor, y: Tensor, threat: Threat) -> Tensor:
        with frozen_eval(view), seeded("conformance"):
            return attack.perturb(AttackedModel(view, RUNTIME), x, y, threat, generator(x.device, 0)).detach()

    def _replaced(
        self, attack: GradientAttack, view: View, x: Tensor, y: Tensor, threat: Threat, *, early_stop: bool = False
    ) -> Tensor:
        with frozen_eval(view), seeded("conformance"):
            return attack.perturb(
                AttackedModel(view, RUNTIME), x, y, threat, generator(x.device, 0),
                start=zero_start, loss=margin, early_stop=early_stop,
            ).detach()  # fmt: skip

    def test_it_leaves_the_model_and_the_images_alone(self) -> None:
        """Weights, buffers, modes and `requires_grad` are as before, and the clean images are not written to."""
        for view in self.views():
            state, (x, y) = copy.deepcopy(view.state_dict()), self.right(view)
            clean = x.clone()
            with frozen_eval(view), seeded("conformance"):
                threat = self.threats()[0]
                self.create().perturb(AttackedModel(view, RUNTIME), x, y, threat, generator(x.device, 0))
                on = [path for path, parameter in view.named_parameters() if parameter.requires_grad]
                assert not on, f"it turns gradients of {on[0]} on"
                assert not any(module.training for module in view.modules()), "it turns train mode on"
            changed = [key for key, value in view.state_dict().items() if not torch.equal(value, state[key])]
            assert not changed, f"it changes the model's {changed[0]}"
            gradients = [parameter.grad for parameter in view.parameters()]
            assert all(gradient is None for gradient in gradients), "it leaves gradients on the model's parameters"
            assert torch.equal(x, clean), "it writes into the images it is given"

    def test_it_is_a_function_of_its_seed(self) -> None:
        """The generator and torch's default ones serve all that is random; Python's and NumPy's are not touched."""
        threat = self.threats()[0]
        for view in self.views():
            first, again = self.attacked(view, threat), self.attacked(view, threat)
            assert torch.equal(first, again), "two runs with one seed differ"
            x, y = self.right(view)
            # A model's noise may come from them. The host puts their state back, so it is looked at before that.
            with frozen_eval(view), seeded("conformance"):
                before = _global_state()
                self.create().perturb(AttackedModel(view, RUNTIME), x, y, threat, generator(x.device, 0))
                untouched = before == _global_state()  # Pytest would spell out how two long states differ, in seconds.
            assert untouched, "it draws from, or seeds, Python's or NumPy's global generator"

    def test_it_hurts(self) -> None:
        """An attack on gradients raises the loss of a model that has them."""
        attack: Attack = self.create()
        if not attack.needs_gradients or _moved_by_training(attack):
            return
        view = self.views()[0]
        x, y = self.right(view)
        for threat in self.threats():
            with torch.no_grad():
                logits = [view(images) for images in (x, self.attacked(view, threat))]
                clean, moved = (float(nn.functional.cross_entropy(values, y)) for values in logits)
            assert moved > clean, f"the loss falls from {clean:.3g} to {moved:.3g}: is a sign the wrong way round?"

    def test_it_says_whether_it_needs_gradients(self) -> None:
        """`needs_gradients` decides whether a model without gradients is refused before any compute."""
        attack: Attack = self.create()
        if _moved_by_training(attack):
            return
        view = victim(self.shape, self.num_classes, stochastic=False)
        blind = View(_Blind(view.model))
        x, y = self.right(view)
        try:
            with frozen_eval(blind), seeded("conformance"):
                attack.perturb(AttackedModel(blind, RUNTIME), x, y, self.threats()[0], generator(x.device, 0))
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
                self.attacked(view, self.threats()[0])
        assert not out.getvalue(), f"it prints {out.getvalue()[:80]!r}; the progress display owns the terminal"

    def test_its_figures_and_its_cost_are_printed(self) -> None:
        """`figures` stand below every table, `label` heads a column, `image_passes` feeds the estimate of the work."""
        attack: Attack = self.create()
        assert attack.label, "label is empty; it heads the column of a table"
        threat = self.threats()[0]
        for stochastic in (False, True):
            figures = attack.figures(threat, stochastic)
            assert attack.natural or figures.get("eps") == threat.eps, (
                "figures do not give eps; extend those of super()"
            )
            json.dumps(figures)
            odd = [key for key, value in figures.items() if not isinstance(value, (int, float, str))]
            assert not odd, f"the figure {odd[0]!r} is neither a number nor a text"
            passes = attack.image_passes(stochastic)
            assert math.isfinite(passes), f"image_passes is {passes}"
            assert passes >= 0, f"image_passes is {passes}"


def _moved_by_training(attack: Attack) -> bool:
    """Whether the host moves the images in training, and never calls `perturb`."""
    return isinstance(attack, GradientAttack) and attack.replays > 1


def _global_state() -> tuple[object, ...]:
    """The state of Python's and NumPy's global generators."""
    _, keys, *rest = np.random.get_state()
    return random.getstate(), list(keys), *rest


class _Blind(nn.Module):
    """A model whose forward pass keeps no graph."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)  # type: ignore[no-any-return]
