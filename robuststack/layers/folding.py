"""Batch norm in eval mode folded into the convolution before it, for as long as the weights stand still.

With s = gamma / sqrt(var + eps) and t = beta - s * mean, BN(conv(x; w) + b) = conv(x; s w) + s b + t. An attack runs a
network dozens of times between two changes of its weights, and each batch norm costs it two more passes over the
activations, one forward and one backward. On a card only the backward one is saved: there another kernel adds the bias of
cuDNN's convolution.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robuststack.layers.condition import View
from robuststack.layers.flow import operations
from robuststack.layers.full_float32 import full_float32
from robuststack.layers.generators import forked
from robuststack.layers.noise import NoisyConv2d, WeightNoise
from robuststack.layers.pointwise import in_order

AGREEMENT = 1e-3
"""Largest difference of folded and plain logits, relative to the largest logit: far above rounding, far below a layer that
was folded wrongly."""


class FoldedConv2d:
    """What stands in for a convolution and the batch norm behind it: one convolution, with weights that `fold` computes."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        self.conv, self.norm = conv, norm

    @torch.no_grad()
    def fold(self) -> None:
        """Take over what the weights and the running statistics are now."""
        conv, norm = self.conv, self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        shift = -norm.running_mean * scale
        if norm.affine:
            scale, shift = norm.weight * scale, norm.weight * shift + norm.bias
        if conv.bias is not None:
            shift = shift + scale * conv.bias[: len(scale)]
        self.bias = shift
        self._casts: dict[tuple[str, torch.dtype], Tensor] = {}
        # A narrow norm of a slimmed network belongs to the first rows of the weight.
        self._scale(conv.weight[: len(scale)], scale[:, None, None, None])

    def _scale(self, weight: Tensor, scale: Tensor) -> None:
        self.weight = weight * scale

    def cast(self, name: Literal["weight", "bias"], x: Tensor) -> Tensor:
        """The weight or bias in the type that autocast would give it beside `x`, cast once a fold and not in every pass."""
        kind, tensor = x.device.type, getattr(self, name)
        if not torch.is_autocast_enabled(kind):
            return tensor  # type: ignore[no-any-return]
        key = name, torch.get_autocast_dtype(kind)
        if key not in self._casts:
            with torch.inference_mode(False):  # What an attack makes in inference mode could take part in no gradient.
                self._casts[key] = tensor.to(key[1])
        return self._casts[key]

    def __call__(self, x: Tensor) -> Tensor:
        return self.conv._conv_forward(x, self.cast("weight", x), self.cast("bias", x))  # type: ignore[no-any-return]


class FoldedNoisyConv2d(FoldedConv2d):
    """The same with weight noise: the noise has the standard deviation of the plain weight, and is scaled with it.

    A naive fold would take the standard deviation of s w, which is another noise.
    """

    conv: NoisyConv2d
    sigma: Tensor

    def _scale(self, weight: Tensor, scale: Tensor) -> None:
        super()._scale(weight, scale)
        alpha = self.conv.alpha[: len(scale)] if self.conv.alpha.dim() else self.conv.alpha
        self.sigma = alpha * self.conv.weight_std() * scale

    def __call__(self, x: Tensor) -> Tensor:
        scale = self.conv.noise_scale
        if scale == 0.0:
            return super().__call__(x)
        weight = torch.addcmul(self.weight, self.conv.eta()[: len(self.weight)], self.sigma, value=scale)
        return self.conv._conv_forward(x, weight, self.cast("bias", x))  # type: ignore[no-any-return]


class FoldedView(View):
    """A view whose forward passes use folded layers: in eval mode, with frozen weights, it computes what the view does."""

    def __init__(self, view: View, layers: Sequence[FoldedConv2d]) -> None:
        super().__init__(view.model, view.values, stochastic=view.stochastic)
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        with _standing_in(self.layers):
            return super().forward(x)

    def subset(self, index: Tensor) -> View:
        return FoldedView(super().subset(index), self.layers)


@contextmanager
def _standing_in(layers: Sequence[FoldedConv2d]) -> Iterator[None]:
    """For the length of a forward pass the layers are the folded ones, and their norms pass on what they get.

    A folded copy of the model would be simpler, and wrong for one that keeps a state of its own, such as a generator that
    the attack would then see twice.
    """
    try:
        for layer in layers:
            layer.conv.__dict__["forward"], layer.norm.__dict__["forward"] = layer, _same
        yield
    finally:
        for layer in layers:
            layer.conv.__dict__.pop("forward", None)
            layer.norm.__dict__.pop("forward", None)


def _same(x: Tensor) -> Tensor:
    return x


class Folding:
    """What can be folded in one model, found once for each way its views run it (branch, width)."""

    def __init__(self) -> None:
        self._candidates: dict[Hashable, Pairs] = {}
        self._layers: dict[Hashable, tuple[FoldedConv2d, ...]] = {}

    def of(self, view: View, images: Tensor, *, verify: bool = False) -> View:
        """`view` with folded layers, or itself where there are none. `images` [N, C, H, W] are any that it takes.

        What is folded is verified on the first images that come and, with `verify`, on these: it then depends on no others.
        The model is in eval mode with frozen parameters, and stays so while the result is used.
        """
        key = tuple(sorted((name, value) for name, value in view.values.items() if not isinstance(value, Tensor)))
        # Samples that choose between batch norms within a batch: none can be folded.
        if isinstance(view.values.get("branch"), Tensor) or view.values.get("split") is not None:
            return view
        if verify or key not in self._layers:
            # Training attacks come here inside of autocast, whose rounding is far above what a fold may differ by.
            with full_float32(images.device):
                if key not in self._candidates:
                    self._candidates[key] = _candidates(view, images)
                self._layers[key] = _foldable(view, images[:2], self._candidates[key])
        layers = self._layers[key]
        for layer in layers:
            layer.fold()
        return FoldedView(view, layers) if layers else view


Pairs = Sequence[tuple[nn.Conv2d, nn.BatchNorm2d]]


def _candidates(view: View, images: Tensor) -> Pairs:
    """What can be folded by the network's structure; nothing of the images but their shape counts."""
    with forked(0):
        try:
            return _pairs(_for_images(view, 1), (images.shape[1], images.shape[2], images.shape[3]))
        except torch.OutOfMemoryError:
            raise
        except Exception:
            return ()  # A network that gives no gradients, say: it is attacked as it is.


def _foldable(view: View, images: Tensor, pairs: Pairs) -> tuple[FoldedConv2d, ...]:
    """The layers of the pairs; none where folding them would change what the model computes on the images."""
    if not pairs:
        return ()
    with forked(0):
        layers = tuple(
            (FoldedNoisyConv2d if isinstance(conv, NoisyConv2d) else FoldedConv2d)(conv, norm) for conv, norm in pairs
        )
        for layer in layers:
            layer.fold()
        few = _for_images(view, len(images))
        # Otherwise the network reads a layer's weight or output in a way that autograd's graph does not show, or sends
        # some images another way: dark and bright ones are looked at too.
        same = all(_same_logits(few, layers, looked) for looked in (images, 0.1 * images, 0.9 + 0.1 * images))
        return layers if same else ()


def _same_logits(view: View, layers: Sequence[FoldedConv2d], images: Tensor) -> bool:
    plain, folded = _logits(view, images), _logits(FoldedView(view, layers), images)
    return bool((plain - folded).abs().max() <= AGREEMENT * plain.abs().max())


def _for_images(view: View, count: int) -> View:
    values = {
        key: value[:count] if isinstance(value, Tensor) and value.dim() > 0 else value
        for key, value in view.values.items()
    }
    return View(view.model, values, stochastic=view.stochastic)


@torch.no_grad()
def _logits(view: View, images: Tensor) -> Tensor:
    with forked(0):  # The same noise on both sides.
        return view(images).float()  # type: ignore[no-any-return]


def _pairs(view: View, shape: tuple[int, int, int]) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution whose output goes to one batch norm and nowhere else, with that norm; both run once in a pass."""
    steps = operations(view, shape, (nn.Conv2d, nn.BatchNorm2d))
    readers = Counter(position for step in steps for position in step.inputs)
    runs = Counter(step.module for step in steps if step.module is not None)
    pairs = []
    for step in steps:
        norm = step.module
        if not isinstance(norm, nn.BatchNorm2d) or len(step.inputs) != 1:
            continue
        conv = steps[step.inputs[0]].module
        if (
            isinstance(conv, nn.Conv2d)
            and readers[step.inputs[0]] == runs[conv] == runs[norm] == 1
            and _plain(conv)
            and norm.running_mean is not None
            and type(norm).forward is nn.BatchNorm2d.forward
            and not (_hooked(conv) or _hooked(norm))
        ):
            pairs.append((conv, norm))
    return pairs


def _plain(conv: nn.Conv2d) -> bool:
    """Whether its output is `_conv_forward` of its weight, plain or noisy, and of its bias."""
    kind: Any = type(conv)
    if isinstance(conv, WeightNoise):
        return kind.forward is WeightNoise.forward and kind.operate is NoisyConv2d.operate
    return kind.forward is nn.Conv2d.forward


def _hooked(module: nn.Module) -> bool:
    before = any(hook is not in_order for hook in module._forward_pre_hooks.values())
    return bool(before or module._forward_hooks or module._backward_hooks)
