"""What a model needs of those who call it, found by calling it, and given to it in every forward pass after that.

The engine likes to call models on channels-last batches of any size, inside autocast. A network that was written elsewhere
may rely on something else. It gets what it needs, and other networks pay nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from robuststack.attacks.frozen_eval import eval_mode, frozen_eval
from robuststack.engine.random_streams import seeded
from robuststack.engine.runtime import Runtime
from robuststack.engine.same_noise import Float32Draws
from robuststack.engine.torch_settings import TorchSettings
from robuststack.errors import ModelError
from robuststack.layers.condition import View
from robuststack.layers.full_float32 import full_float32
from robuststack.layers.safe_convolutions import convolves_unseen

IMAGES = 4
ROUNDED = 0.06
"""Largest effect of lower precision on a network that is called in it, relative to how far logits are from their mean.
Networks of torchvision stay below 0.05; binary activations come to 0.07 and more."""
SEEDS, NOISY = ("", "0", "1", "2"), 2.0
"""Of a randomised network: the seeds of its noise; and where noise cannot be repeated, how many times its effect that of
lower precision may have beside its rounding."""
AGREEMENT = 1e-3
"""Largest difference of logits that are meant to be the same, relative to the largest: far above rounding."""


@dataclass(frozen=True)
class Needs:
    """What a network relies on. The defaults are how the engine calls a network that relies on nothing."""

    channels_last: bool = True
    """False: images and weights in torch's default layout, for `.view` and the like."""
    copies: bool = False
    """It writes into its input."""
    pairs: bool = False
    """It cannot take a batch of one image."""
    float32: bool = False
    """It cannot run inside autocast, or is wrong there."""
    dtype: torch.dtype | None = None
    """The type of its input, if it is not float32."""
    wrapped: bool = False
    """Its logits are a field `logits` of what it returns, or have more dimensions, all of size 1, or are of a type derived
    from torch's tensors."""
    settings: bool = False
    """It changes settings of torch, which would change what others compute; they are put back after each call."""


class FittedForward:
    """Stands in for a model's `forward` and gives it what it needs: images [N, C, H, W] -> logits [N, K]."""

    def __init__(self, forward: Callable[[Tensor], Any], needs: Needs, own: object = None) -> None:
        self.forward, self.needs = forward, needs
        self.own = own
        """The attribute `forward` that the model had without it, if any."""

    def __call__(self, x: Tensor) -> Any:
        needs, count = self.needs, len(x)
        x = x if needs.dtype is None else x.to(needs.dtype)
        x = x if needs.channels_last else x.contiguous()
        x = torch.cat([x, x]) if needs.pairs and count == 1 else x
        x = x.clone() if needs.copies else x
        before = TorchSettings.now() if needs.settings else None
        try:
            with torch.autocast(x.device.type, enabled=False) if needs.float32 else nullcontext():
                logits = self.forward(x)
        except SystemExit as error:  # It would end the whole run, without a word.
            raise RuntimeError(f"it calls sys.exit({'' if error.code is None else error.code})") from error
        finally:
            if before:
                before.restore()
        logits = unwrapped(logits, len(x)) if needs.wrapped else logits
        return logits[:count] if needs.pairs and isinstance(logits, Tensor) else logits


def fit(
    model: nn.Module,
    view: View,
    shape: tuple[int, int, int],
    runtime: Runtime,
    *,
    others: Sequence[View] = (),
    copies: bool = False,
) -> Needs:
    """Place the model on the device, find out what it needs, and give it that from now on, in eval mode.

    `view` is a view of it, without noise if it has such a setting, which takes images of `shape` (C, H, W). What is found
    depends on the model and on nothing else. `others` are views that may run other code of it: if one of them needs
    float32, all get it. With `copies` it gets copies of its input, whatever is found: a network may
    write into bright images only, say.
    A model that nothing helps is left as the engine likes it, for whoever calls it next to hear why.

    Raises:
        ModelError: a hook of the model changes settings of torch.
    """
    runtime.place(model, channels_last=False)
    eval_mode(model)
    with seeded("needs"):
        images = torch.rand(IMAGES, *shape, device=runtime.device)
    trial = _Trial(_StandIn(model), view, images, runtime)
    plain = trial.first(Needs(channels_last=False))
    seen = None
    if plain is None:
        runtime.place(model)
        seen = trial.first(Needs())
    if plain is None and seen is None:
        runtime.place(model, channels_last=False)
        trial = replace(trial, gradients=False)
        plain = trial.first(Needs(channels_last=False))
    if plain is not None:
        runtime.place(model)
        needs = replace(plain.needs, channels_last=True)
        if not trial.agrees(needs, plain):
            runtime.place(model, channels_last=False)
            needs = plain.needs
        needs = trial.for_one(needs, plain)
    else:
        runtime.place(model)
        needs = seen.needs if seen else Needs()
    if runtime.precision != "float32":
        unseen = runtime.device.type == "cpu" and convolves_unseen(model)
        seen_by = (view, *others)
        needs = replace(
            needs, float32=unseen or not all(replace(trial, view=each).bears_rounding(needs) for each in seen_by)
        )
    needs = replace(needs, copies=needs.copies or copies)
    trial.model.needs(needs)
    return needs


def fit_each(
    networks: Mapping[nn.Module, View], shape: tuple[int, int, int], runtime: Runtime, *, copies: bool = False
) -> None:
    """`fit` for the networks of one model, each with a view of it: they may be of other code and types, and may share
    weights, which have one layout.

    Raises:
        ModelError: a hook of a network changes settings of torch.
    """
    found = {network: fit(network, view, shape, runtime, copies=copies) for network, view in networks.items()}
    if all(needs.channels_last for needs in found.values()):
        return
    for network, needs in found.items():
        runtime.place(network, channels_last=False)
        _StandIn(network).needs(replace(needs, channels_last=False))


def needs_of(model: nn.Module) -> Needs:
    """What `fit` found that the model needs."""
    forward = model.__dict__.get("forward")
    return forward.needs if isinstance(forward, FittedForward) else Needs()


class _StandIn:
    """Puts a `FittedForward` in the place of a model's forward, and its own back."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        own = model.__dict__.get("forward")
        if isinstance(own, FittedForward):  # Of an earlier fit.
            self.own, self.forward = own.own, own.forward
        else:
            self.own, self.forward = own, model.forward

    def needs(self, needs: Needs) -> None:
        attributes = self.model.__dict__
        if needs != Needs():
            attributes["forward"] = FittedForward(self.forward, needs, self.own)
        elif self.own is not None:
            attributes["forward"] = self.own
        else:
            attributes.pop("forward", None)


class _ChangesSettings(Exception):
    """A call has changed settings of torch."""


@dataclass(frozen=True)
class _Seen:
    """One call: under which `needs`, and what came of it."""

    needs: Needs
    logits: Tensor
    gradient: Tensor | None
    wrote: bool


@dataclass(frozen=True)
class _Trial:
    model: _StandIn
    view: View
    images: Tensor
    runtime: Runtime
    gradients: bool = True
    """False: images that ask for no gradient, for a network that computes outside of torch."""

    def first(self, needs: Needs) -> _Seen | None:
        """The call with the fewest needs beyond `needs` that works."""
        kinds = {parameter.dtype for parameter in self.model.model.parameters() if parameter.is_floating_point()}
        other = kinds.pop() if len(kinds) == 1 else torch.float32
        changes: list[dict[str, Any]] = [{}, {"copies": True}]
        if other is not torch.float32:
            changes += [{"dtype": other}, {"dtype": other, "copies": True}]
        for change in changes:
            seen = self.run(replace(needs, **change))
            if seen is not None:
                return replace(seen, needs=replace(seen.needs, copies=seen.needs.copies or seen.wrote))
        return None

    def agrees(self, needs: Needs, seen: _Seen) -> bool:
        """Whether the network computes the same under `needs` as it did; of a randomised one, whether it runs at all, since
        its noise may come in memory order."""
        again = self.run(needs)
        if self.view.stochastic:
            return again is not None
        return again is not None and same(again.logits, seen.logits) and _both(again.gradient, seen.gradient)

    def for_one(self, needs: Needs, seen: _Seen) -> Needs:
        """What it needs so that one image alone comes out as it does in a batch; `needs` if nothing helps."""
        alone = replace(self, images=self.images[:1])
        for pairs in (False, True):
            single = alone.run(replace(needs, pairs=pairs))
            if single is not None and (self.view.stochastic or same(single.logits, seen.logits[:1])):
                return single.needs
        return needs

    def bears_rounding(self, needs: Needs) -> bool:
        """Whether the network works inside autocast if it works outside, and is about what it is outside: its logits may
        hide their differences in a large number that all of them share, or follow from signs of activations."""
        exact, low = self.run(needs), self.run(needs, autocast=True)
        if exact is None or low is None:
            return exact is None
        alike = self._noisy_alike(needs, exact, low) if self.view.stochastic else _close(low.logits, exact.logits)
        return alike and _as_usable(low.gradient, exact.gradient)

    def _noisy_alike(self, needs: Needs, exact: _Seen, low: _Seen) -> bool:
        """`_close` for a randomised network, whose noise in another type is other noise: on the same noise, if it can be
        had. Noise must not hide what lower precision spoils: an attack averages it out, and not what is always wrong."""
        if not _separate(exact.logits):
            return False
        pairs = [(self.run(needs, seed=s), self.run(needs, autocast=True, seed=s, same_noise=True)) for s in SEEDS]
        again, alike = pairs[0]
        if again is None or alike is None or not same(again.logits, exact.logits):
            return _as_noisy(low.logits, exact.logits, [seen.logits for seen, _ in pairs[1:] if seen is not None])
        return all(first is None or (then is not None and _close(then.logits, first.logits)) for first, then in pairs)

    def run(self, needs: Needs, *, autocast: bool = False, seed: str = "", same_noise: bool = False) -> _Seen | None:
        """The network under these needs, without and, where they are asked for, with gradients; None if it fails. Each
        `seed` is another noise; with `same_noise` that of float32 is drawn inside autocast, too.

        As in an attack, only the forward pass is inside autocast: what a model does in a backward pass is not cast.
        """
        self.model.needs(needs)
        try:
            with frozen_eval(self.view), nullcontext() if autocast else full_float32(self.images.device):
                precision = self.runtime.autocast if autocast else nullcontext
                return self._run(needs, partial(_on_noise_of_float32, precision) if same_noise else precision, seed)
        except torch.OutOfMemoryError:
            raise
        except _ChangesSettings:
            if needs.settings:  # Not in its `forward`, where they are put back.
                raise ModelError(
                    "a hook of the model changes settings of torch, such as its default type or the number of threads; set"
                    " them before the model is called"
                ) from None
            return self.run(replace(needs, settings=True), autocast=autocast, seed=seed, same_noise=same_noise)
        except (Exception, SystemExit):  # The probe calls the network once more, and says what is wrong with it.
            return None
        finally:
            self.model.needs(Needs())

    def _run(self, needs: Needs, precision: Callable[[], AbstractContextManager[object]], seed: str) -> _Seen:
        images = self.images
        if needs.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        written = images.clone()
        version = written._version
        with seeded("needs", seed), torch.no_grad(), precision():
            logits = self._called(written)
        wrapped = type(logits) is not Tensor or logits.dim() != 2 or len(logits) != len(images)
        if wrapped:
            needs = replace(needs, wrapped=True)
            self.model.needs(needs)
        with seeded("needs", seed), torch.enable_grad():
            point = images.clone().requires_grad_(self.gradients)
            with precision():
                logits = self._called(point)
            if not isinstance(logits, Tensor) or logits.dim() != 2:
                raise TypeError("no logits")
            gradient = None
            if logits.requires_grad:
                scale = torch.linspace(1, 2, logits.shape[1], device=logits.device)
                (gradient,) = torch.autograd.grad((logits.float().nan_to_num() * scale).sum(), point, allow_unused=True)
        wrote = written._version != version or not torch.equal(written, images)
        return _Seen(needs, logits.detach().float(), gradient, wrote)

    def _called(self, images: Tensor) -> Any:
        """What the network returns.

        Raises:
            _ChangesSettings: it has changed settings of torch, which are put back.
        """
        before = TorchSettings.now()
        try:
            return self.view(images)
        finally:
            if TorchSettings.now() != before:  # It may have failed by what it set.
                before.restore()
                raise _ChangesSettings


@contextmanager
def _on_noise_of_float32(precision: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    with precision(), Float32Draws():
        yield


def same(first: Tensor, second: Tensor, tolerance: float = AGREEMENT) -> bool:
    """Whether two tensors agree to `tolerance` times the largest finite value; infinities and NaN must be alike."""
    if first.shape != second.shape:
        return False
    largest = float(second[second.isfinite()].abs().max()) if bool(second.isfinite().any()) else 0.0
    return torch.allclose(first, second, rtol=0.0, atol=tolerance * largest, equal_nan=True)


def _centred(logits: Tensor) -> Tensor:
    """Logits [N, K] less the mean of each row, as far as they are finite; 0 where they are not."""
    known = logits.isfinite()
    mean = torch.where(known, logits, 0).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
    return torch.where(known, logits - mean, 0)


def _close(low: Tensor, exact: Tensor) -> bool:
    """Whether logits in lower precision tell classes apart about as exact ones do."""
    if low.shape != exact.shape or not torch.equal(low.isfinite(), exact.isfinite()):
        return False
    first, second = _centred(low), _centred(exact)
    return bool((first - second).abs().max() <= ROUNDED * second.abs().max())


def _as_noisy(low: Tensor, exact: Tensor, noisy: Sequence[Tensor]) -> bool:
    """Whether logits in lower precision are about as far from exact ones as those are that other noise gives."""
    if not noisy or any(each.shape != exact.shape for each in (low, *noisy)):
        return False
    centre = _centred(exact)
    spread = torch.stack([(_centred(each) - centre).abs().mean() for each in noisy]).mean()
    return bool((_centred(low) - centre).abs().mean() <= NOISY * spread + ROUNDED * centre.abs().max())


def _separate(exact: Tensor) -> bool:
    """Whether logits would still tell classes apart if each were rounded to bf16."""
    return _close(exact.bfloat16().float(), exact)


def _as_usable(low: Tensor | None, exact: Tensor | None) -> bool:
    """Whether gradients in lower precision are there, are numbers, and are not zero, where exact ones are so."""
    if low is None or exact is None:
        return low is exact
    if bool(exact.isfinite().all()) and not bool(low.isfinite().all()):
        return False
    return not bool(exact.any()) or bool(low.any())


def _both(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return same(first.float(), second.float(), 10 * AGREEMENT)


def unwrapped(result: Any, count: int) -> Any:
    """Logits [N, K] from an object or a dictionary with a field `logits`, or from a tensor with dimensions of size 1 too
    many or, for a batch of one image, too few, a plain one in each case; anything else as it is."""
    if isinstance(result, Mapping):
        result = result.get("logits", result)
    elif not isinstance(result, Tensor):
        result = getattr(result, "logits", result)
    if not isinstance(result, Tensor):
        return result
    result = result.as_subclass(Tensor)
    if result.dim() == 0:
        return result
    if result.dim() == 1 and count == 1:
        return result[None]
    if result.dim() > 2 and len(result) == count and result.shape[1:].numel() == result.shape[1]:
        return result.flatten(1)
    return result
