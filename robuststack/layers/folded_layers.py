"""A convolution and the batch norm behind it as one convolution, which stands in for both during a forward pass.

What a network computes may depend on the image: an exit that bright images take, a norm that only some of them go through.
The stand-ins follow each forward pass. What goes from the convolution to its norm is the folded convolution's output; a
norm that gets anything else computes what it always does; and whatever else looks at the convolution's output ends the
pass with `Strayed`, since the folded network has no such tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from robuststack.layers.noise import NoisyConv2d


class Strayed(RuntimeError):
    """A forward pass went a way that folded layers cannot follow."""


class FoldedConv2d:
    """What stands in for a convolution and the batch norm behind it: one convolution, with weights that `fold` computes."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        self.conv, self.norm = conv, norm
        self._strayed = False

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
        self._strayed, self._taken_over, self._versions = False, self._identities(), self._written()

    def _scale(self, weight: Tensor, scale: Tensor) -> None:
        self.weight = weight * scale

    def _tensors(self) -> tuple[Tensor | None, ...]:
        return (*self.conv._parameters.values(), *self.norm._parameters.values(), *self.norm._buffers.values())

    def _identities(self) -> list[int]:
        """What tells whether a weight or a statistic was replaced, if only for the length of a call."""
        return [*map(id, self._tensors())]

    def _written(self) -> list[int]:
        """What tells whether one was written, then or since: the counts only grow."""
        return [-1 if tensor is None else tensor._version for tensor in self._tensors()]

    @property
    def strayed(self) -> bool:
        """Whether, since the last `fold`, a forward pass went a way that it cannot follow."""
        return self._strayed or self._written() != self._versions

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
        """What the norm gives for the convolution's output for x."""
        return self.conv._conv_forward(x, self.cast("weight", x), self.cast("bias", x))  # type: ignore[no-any-return]

    def stray(self, reason: str) -> Strayed:
        """Remember that a pass went another way, and the error that ends it."""
        self._strayed = True
        return Strayed(reason)

    def convolved(self, x: Tensor) -> Tensor:
        """The convolution's forward pass: a tensor that only the norm behind it may look at."""
        return Promise.of(self, self(x))

    def outside(self, x: Tensor) -> Tensor:
        """The convolution's forward pass between passes of the folded network. Activation checkpointing calls it in the
        backward pass, which would mix the gradients of both networks."""
        self._strayed = self._strayed or torch._C._current_graph_task_id() != -1
        return type(self.conv).forward(self.conv, x)

    def normed(self, y: Tensor) -> Tensor:
        """The norm's forward pass.

        Raises:
            Strayed: the norm is in train mode, or weights or statistics were replaced by the network itself.
        """
        if not isinstance(y, Promise) or y.layer is not self:
            return nn.BatchNorm2d.forward(self.norm, y)
        result = y.result
        if self.norm.training or self._identities() != self._taken_over:
            raise self.stray("the norm behind a folded convolution has changed")
        if result._version != y.version or torch.is_grad_enabled() != y.with_gradient:
            raise self.stray("a folded convolution's output is used in another way than by its norm")
        return result


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


PLAIN: Any = Tensor
SHAPE_ONLY: frozenset[Callable[..., Any]] = frozenset(
    {
        PLAIN.shape.__get__,
        PLAIN.ndim.__get__,
        PLAIN.dtype.__get__,
        PLAIN.device.__get__,
        PLAIN.size,
        PLAIN.dim,
        PLAIN.__len__,
    }
)
"""What a folded convolution's output answers as the plain one would."""
NOTHING = torch.empty(0, device="meta")


class Promise(Tensor):
    """The output of a convolution that is folded: the norm behind it gives `result` for it, and nothing else may read it.

    Its own memory is on torch's meta device, so that compiled code, which bypasses `__torch_function__`, fails on it too.
    """

    layer: FoldedConv2d
    result: Tensor
    version: int
    with_gradient: bool

    @staticmethod
    def of(layer: FoldedConv2d, result: Tensor) -> Promise:
        """A promise of what the layer computed just now."""
        promise = Tensor._make_subclass(Promise, NOTHING)
        promise.layer, promise.result = layer, result
        promise.version, promise.with_gradient = result._version, torch.is_grad_enabled()
        return promise

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        read = [value for value in tree_leaves((args, kwargs or {})) if isinstance(value, Promise)]
        if func in SHAPE_ONLY and len(read) == 1:
            return func(read[0].result, *args[1:], **(kwargs or {}))
        for promise in read:
            promise.layer.stray("read")
        raise Strayed("a folded convolution's output is read by something else than its norm")
