"""The adversarial images of one block, whatever attack makes them, and what the host saw of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robuststack.attacks.attacked_model import AttackedModel, Tally
from robuststack.attacks.ball import Ball
from robuststack.attacks.frozen_eval import frozen_eval, modes
from robuststack.attacks.margins import judged_margin
from robuststack.attacks.mixture import Mixture, MixtureModel
from robuststack.engine.random_streams import generator, seeded
from robuststack.engine.runtime import Runtime
from robuststack.errors import PluginError, RobustStackError
from robuststack.layers.condition import View
from robuststack.layers.folded_layers import Strayed
from robuststack.layers.folding import Folding, on_folded
from robuststack.plugin.attack import Attack
from robuststack.plugin.threat import Threat

LOG = logging.getLogger(__name__)
FEW = 5
"""So many calls of the model leave an attack no time to rest on images that are won: another look would cost most of it."""


@dataclass(frozen=True)
class Seen:
    """What the host saw of an attack on a block."""

    clipped: float
    """How far, in the threat's norm and the [0, 1] pixel range, an image had to be moved back into the ball."""
    not_finite: int
    """Pixels that were no numbers; the clean ones stand in for them."""
    state_kept: bool
    """Whether the model's mode and buffers were left alone; they were put back."""
    calls: int
    """Forward passes of the model."""
    table_draws: int
    """Noise draws that were looked up in the table of normal quantiles."""
    gradients: int
    """Of images that were not fooled yet."""
    gradients_zero: int
    gradients_not_finite: int
    folded: bool
    """Whether batch norms were folded into convolutions."""
    again: bool
    """Whether the block was attacked on the folded network, some image took a way through the network that folding cannot
    follow, and the block was attacked again on the plain one."""

    def with_more(self, more: Seen) -> Seen:
        """What was seen of this attack and of one more, on some of its images."""
        return Seen(
            clipped=max(self.clipped, more.clipped),
            not_finite=self.not_finite + more.not_finite,
            state_kept=self.state_kept and more.state_kept,
            calls=self.calls + more.calls,
            table_draws=self.table_draws + more.table_draws,
            gradients=self.gradients + more.gradients,
            gradients_zero=self.gradients_zero + more.gradients_zero,
            gradients_not_finite=self.gradients_not_finite + more.gradients_not_finite,
            folded=self.folded or more.folded,
            again=self.again or more.again,
        )


def checks(blocks: Iterable[Seen]) -> dict[str, float | bool]:
    """What was seen of a whole attack: sums and maxima over its blocks, failing gradients in percent."""
    seen = list(blocks)
    gradients = sum(block.gradients for block in seen)
    failing = {
        "gradients_zero": sum(block.gradients_zero for block in seen),
        "gradients_not_finite": sum(block.gradients_not_finite for block in seen),
    }
    return {
        "clipped": max((block.clipped for block in seen), default=0.0),
        "not_finite": sum(block.not_finite for block in seen),
        "state_kept": all(block.state_kept for block in seen),
        "calls": sum(block.calls for block in seen),
        "table_draws": sum(block.table_draws for block in seen),
        "folded": sum(block.folded for block in seen),
        "again": sum(block.again for block in seen),
        **({name: 100 * count / gradients for name, count in failing.items()} if gradients else {}),
    }


def attack_block(
    attacker: View | Mixture,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    threat: Threat,
    runtime: Runtime,
    *,
    seed: int,
    number: int,
    early_stop: bool,
    folding: Folding | None = None,
) -> tuple[Tensor, Seen]:
    """Adversarial images float32 [N, C, H, W] for the block `number` (0-based), clipped to the ball and to [0, 1];
    those of a natural shift to [0, 1] alone.

    The attack runs in the job's precision, on random streams named by the block. In bf16, images that a deterministic view
    gets wrong in bf16 alone are attacked again in float32, unless the attack took a few calls only; so is a block on which
    the model fails in bf16. A pixel that is not finite becomes the clean one. With `early_stop` an image that a
    deterministic view gets wrong may be done: it must then be judged on that view, unrounded; a mixture of views attacks to
    the end. `folding` remembers the model's structure from block to block.

    Raises:
        PluginError: the attack changed the model's weights, or returned no tensor, or images of another shape.
    """
    views: Sequence[View] = attacker.views if isinstance(attacker, Mixture) else (attacker,)
    weights = attacker.weights if isinstance(attacker, Mixture) else None
    view = views[0]  # All of them run one model.
    block = _Block(attack, threat, seed, number, early_stop, folding or Folding(), weights)
    with frozen_eval(view):
        if runtime.precision == "float32":
            made = block.made(views, x, y, runtime)
            return made.images, made.seen
        try:
            made = block.made(views, x, y, runtime)
        except (RobustStackError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # A way through the network that only some images take, say.
            made = block.made(views, x, y, runtime.exact())  # If that fails too, it was not the precision.
            reason = " ".join(str(error).split())
            LOG.warning("block %s: the model fails in bf16 (%s) and is attacked in float32", number + 1, reason)
            return made.images, made.seen
        if weights or view.stochastic or made.seen.calls < FEW:
            return made.images, made.seen
        left = _won_by_rounding(view, made.used[0], made.images, y, runtime)
        if not len(left):
            return made.images, made.seen
        exact = block.made((view.subset(left),), x[left], y[left], runtime.exact())
        made.images[left] = exact.images
        return made.images, made.seen.with_more(exact.seen)


@dataclass(frozen=True)
class _Made:
    """What a block's attack came to: its images, what was seen of it, and the views that were used, folded ones perhaps."""

    images: Tensor
    seen: Seen
    used: Sequence[View]


@dataclass(frozen=True)
class _Block:
    """The attack on a block of images: its ball, its random streams and how it may run."""

    attack: Attack
    threat: Threat
    seed: int
    number: int
    early_stop: bool
    folding: Folding
    weights: Sequence[float] | None
    """Of a mixture of views."""

    def made(self, views: Sequence[View], x: Tensor, y: Tensor, runtime: Runtime) -> _Made:
        """The images that are made of x through these views of a frozen model, in the precision of `runtime`."""
        view, name = views[0], self.attack.name
        # Verified for each block, so that its images do not depend on which blocks were made before it.
        folded = [self.folding.of(part, x[:2].clone(), verify=True) for part in views]
        weights = [(parameter._version, parameter.detach().clone()) for parameter in view.parameters()]
        (raw, tally, kept), used = on_folded(views, folded, lambda seen: self._perturbed(seen, view, x, y, runtime))
        # By their values too: a network may clamp its weights in each forward pass.
        if any(
            parameter._version != version and not torch.equal(parameter, value)
            for parameter, (version, value) in zip(view.parameters(), weights, strict=True)
        ):
            raise PluginError(f"attack {name!r} breaks its contract: it changed the model's weights")
        if raw.shape != x.shape:
            shapes = f"{tuple(raw.shape)} for {tuple(x.shape)}"
            raise PluginError(f"attack {name!r} breaks its contract: it returned images of shape {shapes}")
        finite = torch.isfinite(raw)
        raw = torch.where(finite, raw, x)
        ball = Ball.of(x, self.threat)
        clipped = raw.clamp(0, 1) if self.attack.natural else ball.project(raw)
        gradients, zero, broken = (round(count) for count in tally.gradients.tolist())
        seen = Seen(
            clipped=float(ball.length(raw - clipped).max()),
            not_finite=int((~finite).sum()),
            state_kept=kept,
            calls=tally.calls,
            table_draws=tally.table.draws,
            gradients=gradients,
            gradients_zero=zero,
            gradients_not_finite=broken,
            folded=any(part is not plain for part, plain in zip(used, views, strict=True)),
            again=used is not folded,
        )
        return _Made(clipped, seen, used)

    def _perturbed(
        self, seen: Sequence[View], view: View, x: Tensor, y: Tensor, runtime: Runtime
    ) -> tuple[Tensor, Tally, bool]:
        """The attack's images, what was counted, and whether it left the mode and the buffers of the view alone."""
        tally = Tally(x.device)
        models = [AttackedModel(part, runtime, tally, final=self.early_stop) for part in seen]
        attacked = models[0] if self.weights is None else MixtureModel(models, self.weights)
        before = [buffer.clone() for buffer in view.buffers()]
        mode_before = modes(view)
        written = True
        try:
            with seeded(self.seed, "attack", self.number):
                source = generator(x.device, self.seed, "start", self.number)
                # Copies: an attack that writes into its input must move neither the ball nor the data of later jobs.
                with runtime.float32():
                    raw = self.attack.perturb(attacked, x.clone(), y.clone(), self.threat, source)
                    if not isinstance(raw, Tensor):
                        returned = type(raw).__name__
                        raise PluginError(
                            f"attack {self.attack.name!r} breaks its contract: it returned {returned}, not a tensor"
                        )
                    raw = raw.detach().float()
            changed = [(old != new).any() for old, new in zip(before, view.buffers(), strict=True)]
            # One look at the device, not one for each buffer.
            written = bool(changed) and bool(torch.stack(changed).any())
        finally:
            # Only what differs: whatever is written, with its own values too, is taken for another weight by folding.
            for old, new in zip(before, view.buffers(), strict=True) if written else ():
                if not torch.equal(old, new):
                    new.copy_(old)
        return raw, tally, not written and mode_before == modes(view)


@torch.no_grad()
def _won_by_rounding(view: View, used: View, images: Tensor, y: Tensor, runtime: Runtime) -> Tensor:
    """The positions of the images that a deterministic view gets right in float32, and wrong or tied in the precision that
    they were made in, by the view that was `used` there. The attack was done with them, or saw no loss to climb."""
    shown = images.clone(memory_format=torch.channels_last)  # A model may write into it.
    try:
        logits = AttackedModel(used, runtime)(shown)
    except Strayed:
        logits = AttackedModel(view, runtime)(shown)
    # At a tie a margin loss is flat as well, and numbers of 8 bits often tie.
    won = (judged_margin(logits, y) >= 0).nonzero().flatten()
    if not len(won):
        return won
    exact = AttackedModel(view.subset(won), runtime.exact())(images[won])
    return won[judged_margin(exact, y[won]) <= 0]
