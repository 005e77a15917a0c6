"""The one attack loop, and the judging of what any attack returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robuststack.contracts import Attack, Loss, Threat
from robuststack.engine.data import Data
from robuststack.engine.device import Fast, Runtime, Tally, generator, seeded
from robuststack.errors import PluginError
from robuststack.layers.condition import View
from robuststack.layers.exact import exact
from robuststack.layers.folding import Folding

Start = Callable[[Tensor, Threat, torch.Generator], Tensor]
Progress = Callable[[int, int, float], None]
Run = Callable[[nn.Module, Tensor, Tensor], Iterable[Tensor]]
"""(model, images, labels) -> candidates, each a batch of adversarial images of that shape."""


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """Eval mode and frozen parameters for the length of an attack; every mode and flag is put back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter in trainable:
            parameter.requires_grad_(True)


def project(candidate: Tensor, x: Tensor, threat: Threat) -> Tensor:
    """The nearest image in the Linf ball around `x` and in [0, 1]."""
    return torch.minimum(torch.maximum(candidate, (x - threat.eps).clamp_(min=0)), (x + threat.eps).clamp_(max=1))


def uniform_start(x: Tensor, threat: Threat, source: torch.Generator) -> Tensor:
    """Uniform in the Linf ball."""
    noise = torch.empty_like(x).uniform_(-threat.eps, threat.eps, generator=source)
    return x + noise


def normal_start(x: Tensor, threat: Threat, source: torch.Generator) -> Tensor:
    """A thousandth of a standard normal (the start of TRADES)."""
    return x + 0.001 * torch.empty_like(x).normal_(generator=source)


def zero_start(x: Tensor, threat: Threat, source: torch.Generator) -> Tensor:
    """The clean image."""
    return x


STARTS: dict[str, Start] = {"uniform": uniform_start, "normal": normal_start, "zero": zero_start}


def ascend(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    source: torch.Generator,
    *,
    start: Start,
    loss: Loss,
    update: Callable[[Tensor, Tensor, float], Tensor],
    step: float,
    steps: int,
    restarts: int,
    draws: int,
    early_stop: bool = False,
) -> Tensor:
    """Climb the loss by projected gradient steps: x [N, C, H, W] -> adversarial images of that shape.

    Each step averages the loss gradient over `draws` forward passes (EOT). Of several restarts, and of itself, each image
    keeps what has the largest margin of a wrong class over the right one. With `early_stop` an image that a model `settles`
    is kept as it is, and costs nothing more, in this restart and in later ones.
    """
    leaves = early_stop and isinstance(model, Fast) and model.settles

    def climb(model: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
        bounds = (x - threat.eps).clamp_(min=0), (x + threat.eps).clamp_(max=1)
        batch = _Batch(model, start(x, threat, source).clamp(*bounds), y, *bounds)
        found = _Found(batch.images) if leaves else None
        for number in range(steps):
            gradient, logits = loss_gradient(batch.model, batch.images, batch.y, loss, draws)
            # At powers of two: each look waits for the device, and most of what breaks does so early.
            if found is not None and number & (number - 1) == 0:
                left = found.leave(batch, logits)
                if left is not None:
                    batch, gradient = batch.take(left), gradient[left]
                if not len(batch.y):
                    break
            batch.images = update(batch.images, gradient, step).clamp(batch.lower, batch.upper)
        return [batch.images if found is None else found.whole(batch)]

    return climb(model, x, y)[0] if restarts == 1 else worst([climb] * restarts, model, x, y, draws, narrow=leaves)


@dataclass
class _Batch:
    """The images that are still attacked, with what belongs to them."""

    model: nn.Module
    images: Tensor
    y: Tensor
    lower: Tensor
    upper: Tensor

    def take(self, left: Tensor) -> _Batch:
        """Those at the positions `left` [M]."""
        assert isinstance(self.model, Fast)
        images, lower, upper = (
            one[left].contiguous(memory_format=torch.channels_last) for one in (self.images, self.lower, self.upper)
        )
        return _Batch(self.model.take(left), images, self.y[left], lower, upper)


class _Found:
    """The images that have left, in the places they have in the whole batch."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self.places = torch.arange(len(images), device=images.device)

    def leave(self, batch: _Batch, logits: Tensor) -> Tensor | None:
        """Keep the images that are wrong beyond rounding; the positions in `batch` of the others, None where all are."""
        assert isinstance(batch.model, Fast)
        left = still_open(batch.model, logits, batch.y).nonzero().flatten()
        if len(left) == len(batch.y):
            return None
        self.images[self.places] = batch.images
        self.places = self.places[left]
        return left

    def whole(self, batch: _Batch) -> Tensor:
        self.images[self.places] = batch.images
        return self.images


def loss_gradient(model: nn.Module, adversarial: Tensor, y: Tensor, loss: Loss, draws: int) -> tuple[Tensor, Tensor]:
    """The gradient [N, C, H, W] of the loss, summed over the draws, and the last draw's logits [N, K]."""
    tally = model.tally if isinstance(model, Fast) else None
    total: Tensor | None = None
    seen: Tensor | None = None
    logits: Tensor | None = None
    with torch.enable_grad():
        point = adversarial.detach().requires_grad_()
        for _ in range(draws):
            logits = model(point)
            # The sum, so that each sample's gradient does not depend on how many others are in the batch.
            (gradient,) = torch.autograd.grad(loss(logits, y).sum(), point)
            seen = gradient if seen is None else seen + gradient
            if tally is not None:
                # What is no number moves no pixel, and spoils no other draw; it is counted as a failure below.
                gradient = gradient.nan_to_num()
            total = gradient if total is None else total + gradient
    assert total is not None
    assert seen is not None
    assert logits is not None
    logits = logits.detach()
    if tally is not None:
        # A capped loss is flat where the model is fooled already, which is no masking.
        tally.watch(seen, logits.argmax(1) == y)
    return total, logits


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """How far the best wrong class is above the right one, for each sample [N]: positive where the model is wrong."""
    right = logits.gather(1, y[:, None])
    return (logits.scatter(1, y[:, None], -torch.inf).max(1, keepdim=True).values - right).squeeze(1)


def judged_margin(logits: Tensor, y: Tensor) -> Tensor:
    """The margin [N] as the host will judge it: logits that are not finite are wrong, so nothing beats them: infinity."""
    return torch.where(torch.isfinite(logits).all(1), margin(logits, y), torch.inf)


@torch.no_grad()
def mean_logits(model: nn.Module, x: Tensor, draws: int) -> Tensor:
    """The mean [N, K] of the logits over `draws` forward passes."""
    return torch.stack([model(x) for _ in range(draws)]).mean(0)


def mean_margin(model: nn.Module, x: Tensor, y: Tensor, draws: int) -> Tensor:
    """The margin [N] of the mean logits over `draws` forward passes: what attacks compare an image's candidates by."""
    return judged_margin(mean_logits(model, x, draws), y)


def still_open(model: nn.Module, logits: Tensor, y: Tensor) -> Tensor:
    """Which images [N] are right, or wrong by no more than the rounding of the precision the attack runs in."""
    slack = model.slack(logits) if isinstance(model, Fast) else 0.0
    margins = judged_margin(logits, y)
    return ~(margins > slack) | torch.isinf(margins)


@torch.no_grad()
def worst(runs: Sequence[Run], model: nn.Module, x: Tensor, y: Tensor, draws: int, *, narrow: bool = True) -> Tensor:
    """Of itself and all that the runs find, each image keeps what has the largest margin over `draws` forward passes.

    The first run attacks every image. Where the model `settles`, later ones take only those that nothing has fooled yet, as
    AutoAttack does, unless `narrow` is false; of a randomised model they take all, since one success says little.
    """
    narrow = narrow and (model.settles if isinstance(model, Fast) else not getattr(model, "stochastic", False))
    logits = mean_logits(model, x, draws)
    kept, hurt, open_ = x.clone(), judged_margin(logits, y), still_open(model, logits, y)
    for number, run in enumerate(runs):
        if narrow and number:
            left = open_.nonzero().flatten()
            if not len(left):
                break
            narrowed = model.take(left) if isinstance(model, Fast) else model
        else:
            left, narrowed = torch.arange(len(y), device=y.device), model
        images, labels = (x, y) if len(left) == len(y) else (x[left], y[left])
        for found in run(narrowed, images, labels):
            logits = mean_logits(narrowed, found, draws)
            # Gradients that are no numbers make images that are none.
            usable = torch.isfinite(found).flatten(1).all(1)
            margins = torch.where(usable, judged_margin(logits, labels), -torch.inf)
            better = margins > hurt[left]
            kept[left] = torch.where(better[:, None, None, None], found, kept[left])
            hurt[left] = torch.maximum(margins, hurt[left])
            open_[left] &= still_open(narrowed, logits, labels) | ~usable
    return kept


@dataclass(frozen=True)
class Outcome:
    """What an attack job found: `correct` bool [draws, N], the images it was judged on, in host memory, where they were to
    be kept, and what the host checked."""

    correct: Tensor
    images: Tensor | None
    checks: dict[str, float | bool]


def evaluate(
    attacker: View,
    victim: View,
    data: Data,
    attack: Attack | None,
    threat: Threat | None,
    runtime: Runtime,
    *,
    seed: int,
    draws: int,
    batch_size: int,
    keep: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Attack each batch through `attacker` in the job's precision, and judge it on `victim` in float32.

    Without an attack this is clean accuracy. Judging uses noise of its own stream, never the attack's, and the same draws
    for every attack of a point. What the attack returns is clipped to the ball and to [0, 1]; a pixel that is not finite
    counts as the clean one, and is reported.
    """
    correct, images = [], []
    checks: dict[str, float | bool] = {"clipped": 0.0, "not_finite": 0.0, "state_kept": True, "calls": 0}
    gradients = torch.zeros(3)
    folding = Folding()
    right = done = 0.0
    for number, (x, y) in enumerate(data.batches(batch_size)):
        judged = x
        if attack is not None and threat is not None:
            # Images that are judged elsewhere are not done where they fool the attacker's model.
            final = attacker is victim
            judged, found, seen = _attacked(attacker, x, y, attack, threat, runtime, folding, seed, number, final)
            gradients += seen
            checks["clipped"] = max(float(checks["clipped"]), found["clipped"])
            checks["not_finite"] = float(checks["not_finite"]) + found["not_finite"]
            checks["calls"] += found["calls"]
            checks["state_kept"] = bool(checks["state_kept"]) and bool(found["state_kept"])
            if keep:
                images.append(judged.cpu())
        with seeded(seed, "judge", number):
            correct.append(judge(victim, judged, y, draws))
        if progress:
            right += float(correct[-1].float().mean(0).sum())
            done += len(y)
            progress(int(done), len(data), 100 * right / done)
    if gradients[0] > 0:
        checks["gradients_zero"] = 100 * float(gradients[1] / gradients[0])
        checks["gradients_not_finite"] = 100 * float(gradients[2] / gradients[0])
    return Outcome(torch.cat(correct, 1), torch.cat(images) if images else None, checks)


def _attacked(
    view: View,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    threat: Threat,
    runtime: Runtime,
    folding: Folding,
    seed: int,
    number: int,
    final: bool,
) -> tuple[Tensor, dict[str, float], Tensor]:
    """The attack's images, clipped; how far they had to be; and what was counted of its gradients."""
    with still(view):
        tally = Tally(x.device)
        fast = Fast(folding.of(view, x), runtime, tally, final=final)
        weights = [parameter._version for parameter in view.parameters()]
        before = [buffer.clone() for buffer in view.buffers()]
        try:
            with seeded(seed, "attack", number):
                source = generator(x.device, seed, "start", number)
                # Copies: an attack that writes into its input must move neither the ball nor the data of later jobs.
                with runtime.float32():
                    raw = attack.perturb(fast, x.clone(), y.clone(), threat, source).detach().float()
            changed = [(old != new).any() for old, new in zip(before, view.buffers(), strict=True)]
            # One look at the device, not one for each buffer.
            kept = not any(module.training for module in view.modules()) and not (
                changed and bool(torch.stack(changed).any())
            )
        finally:
            for old, new in zip(before, view.buffers(), strict=True):
                new.copy_(old)
    if weights != [parameter._version for parameter in view.parameters()]:
        raise PluginError(f"attack {attack.name!r} breaks its contract: it changed the model's weights")
    if raw.shape != x.shape:
        shapes = f"{tuple(raw.shape)} for {tuple(x.shape)}"
        raise PluginError(f"attack {attack.name!r} breaks its contract: it returned images of shape {shapes}")
    finite = torch.isfinite(raw)
    raw = torch.where(finite, raw, x)
    clipped = project(raw, x, threat)
    distance = float((raw - clipped).abs().max())
    return (
        clipped,
        {"clipped": distance, "not_finite": float((~finite).sum()), "state_kept": float(kept), "calls": tally.calls},
        tally.gradients.cpu(),
    )


@torch.no_grad()
def judge(view: View, x: Tensor, y: Tensor, draws: int) -> Tensor:
    """Whether `view` is right on each image, in float32 and eval mode, on fresh noise each draw: bool [draws, N].

    Logits that are not finite are wrong: argmax would call them class 0.
    """
    with still(view), exact(x.device):
        return torch.stack([_right(view(x), y) for _ in range(draws)])


def _right(logits: Tensor, y: Tensor) -> Tensor:
    return torch.isfinite(logits).all(1) & (logits.argmax(1) == y)
