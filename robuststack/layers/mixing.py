"""Two networks in one model, mixed at deployment."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from robuststack.errors import PluginError
from robuststack.layers.batch_statistics import batch_norms, estimated_statistics
from robuststack.layers.condition import Condition
from robuststack.layers.surrogate import WithSurrogate


class LogitMix(nn.Module):
    """log((1 - mix) softmax(clean(x)) + mix softmax(robust(x))), images [N, C, H, W] -> logits [N, K].

    Adaptive smoothing with a constant weight (Bai et al., arXiv 2301.12554, eq. 4). At `mix` 0 and 1 one network runs, and
    its own logits are returned. Reads `mix`, in [0, 1].
    """

    def __init__(self, clean: nn.Module, robust: nn.Module, condition: Condition) -> None:
        super().__init__()
        self.clean, self.robust, self.condition = clean, robust, condition

    def forward(self, x: Tensor) -> Tensor:
        mix = mix_of(self.condition)
        if mix == 0:
            return self.clean(x)  # type: ignore[no-any-return]
        if mix == 1:
            return self.robust(x)  # type: ignore[no-any-return]
        clean, robust = both_logits(self.clean, self.robust, x)
        return log_mix(functional.log_softmax(clean, 1), functional.log_softmax(robust, 1), mix)


def mix_of(condition: Condition) -> float:
    """The weight of the robust network in this forward pass.

    Raises:
        PluginError: it is none, or outside [0, 1].
    """
    mix = condition.read("mix")
    if mix is None or not 0 <= mix <= 1:
        raise PluginError(f"mix is {mix}; valid: a number from 0, the clean network, to 1, the robust one")
    return float(mix)


def both_logits(clean: nn.Module, robust: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The float32 logits [N, K] of two networks.

    Raises:
        PluginError: they have other classes, or other shapes.
    """
    # Probabilities near 0 and 1 need more digits than bf16 has.
    first, second = clean(x).float(), robust(x).float()
    if first.shape != second.shape or first.dim() != 2:
        shapes = f"{list(first.shape)} and {list(second.shape)}"
        raise PluginError(f"a mix needs two networks that give logits [N, K] for the same classes; these give {shapes}")
    return first, second


def log_mix(clean: Tensor, robust: Tensor, mix: float | Tensor) -> Tensor:
    """log((1 - mix) exp(clean) + mix exp(robust)) for log-probabilities [N, K]; 0 < mix < 1, a number or a tensor."""
    if isinstance(mix, Tensor):
        return torch.logaddexp(clean + torch.log1p(-mix), robust + torch.log(mix))
    return torch.logaddexp(clean + math.log1p(-mix), robust + math.log(mix))


class NonlinearLogits(nn.Module):
    """s |GELU(LN(z) + c)|^p with the sign kept, logits z [N, K] -> [N, K]; LN has neither gain nor bias.

    MixedNUTS (Bai et al., TMLR 2024, arXiv 2402.02263, eq. 5): it makes a robust network more confident where it is right
    than where it is wrong. s, p and c are buffers.
    """

    scale: Tensor
    power: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, value in (("scale", 1.0), ("power", 1.0), ("shift", 0.0)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, logits: Tensor) -> Tensor:
        return nonlinear(logits, self.scale, self.power, self.shift)


NORMALISED = 250
"""Of more classes than these, LN takes mean and variance of the largest logits alone, as the code of MixedNUTS does."""


def nonlinear(logits: Tensor, scale: Tensor, power: Tensor, shift: Tensor) -> Tensor:
    """`NonlinearLogits` for parameters of any shape that broadcasts with the logits [..., K]."""
    largest = logits.topk(NORMALISED, -1).values if logits.shape[-1] > NORMALISED else logits
    mean, variance = largest.mean(-1, keepdim=True), largest.var(-1, keepdim=True)
    clamped = functional.gelu((logits - mean) / (variance + 1e-8).sqrt() + shift)
    return scale * clamped.abs().pow(power) * clamped.sign()


class NonlinearMix(WithSurrogate):
    """log((1 - mix) onehot(clean(x)) + mix softmax(T(robust(x)))) with T `NonlinearLogits`, images [N, C, H, W] -> logits
    [N, K]; at `mix` 0 and 1 one network runs. Reads `mix`, in [0, 1].

    The value is exact, and hardly has a gradient: a one-hot vector has none, and that of T vanishes. The surrogate is that
    of the code of MixedNUTS (Bai-YT/MixedNUTS): log((1 - a) softmax(clean) + a (0.9 softmax(robust) + 0.1
    softmax(T(robust)))) with a the smaller of `mix` and `plain_mix`. `forward` gives the surrogate's gradient at the exact
    value, as that code does for RobustBench; a loss of the surrogate itself, as that code's own attacks take, finds more.
    """

    plain_mix: Tensor

    def __init__(self, clean: nn.Module, robust: nn.Module, condition: Condition) -> None:
        super().__init__()
        self.clean, self.robust, self.condition = clean, robust, condition
        self.transformation = NonlinearLogits()
        self.register_buffer("plain_mix", torch.tensor(0.5))
        self.register_buffer("calibrated_mix", torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.surrogate(x)[0]

    def surrogate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mix = mix_of(self.condition)
        if mix == 0:
            logits = self.clean(x)
            return logits, logits
        if mix == 1:
            robust = self.robust(x).float()
            transformed: Tensor = self.transformation(robust)
            return _with_gradient_of(PLAIN_SHARE * robust + (1 - PLAIN_SHARE) * transformed, transformed.detach())
        clean, robust = both_logits(self.clean, self.robust, x)
        transformed = functional.log_softmax(self.transformation(robust), 1)
        with torch.no_grad():
            one_hot = torch.full_like(clean, -torch.inf).scatter_(1, clean.argmax(1, keepdim=True), 0.0)
            value = log_mix(one_hot, transformed, mix)
        weight = self.plain_mix.clamp(max=mix)
        mostly_plain = log_mix(transformed, functional.log_softmax(robust, 1), PLAIN_SHARE)
        return _with_gradient_of(log_mix(functional.log_softmax(clean, 1), mostly_plain, weight), value)


PLAIN_SHARE = 0.9
"""The share of the untransformed robust network in the surrogate of `NonlinearMix`."""


def _with_gradient_of(function: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The value, with the gradient of the function; and the function."""
    if not torch.is_grad_enabled():
        return value, value
    return value + (function - function.detach()), function


class WeightMix(nn.Module):
    """One network whose weights lie between those of two: (1 - mix) clean + mix robust, images [N, C, H, W] -> logits.

    Its batch norms have running statistics for each of `mixes`, the values between 0 and 1 that it can run at; at 0 and 1
    one of the two networks runs. Layers read weights that no convolution holds, so nothing is folded. Reads `mix`.
    """

    foldable = False

    def __init__(self, clean: nn.Module, robust: nn.Module, mixes: Sequence[float], condition: Condition) -> None:
        super().__init__()
        self.clean, self.robust, self.condition = clean, robust, condition
        self.mixes = tuple(mixes)
        for key, value in self._statistics_of(robust).items():
            self.register_buffer(_stored(key), value.detach().repeat(len(self.mixes), 1))

    def forward(self, x: Tensor) -> Tensor:
        mix = mix_of(self.condition)
        if mix in (0, 1):
            return (self.robust if mix else self.clean)(x)  # type: ignore[no-any-return]
        if mix not in self.mixes:
            valid = ", ".join(f"{known:g}" for known in (0, *self.mixes, 1))
            raise PluginError(f"mix {mix:g} has no batch statistics; valid: {valid}")
        row = self.mixes.index(mix)
        statistics = {key: getattr(self, _stored(key))[row] for key in self._statistics_of(self.robust)}
        logits: Tensor = functional_call(self.robust, {**self.weights_at(mix), **statistics}, (x,))
        return logits

    def weights_at(self, mix: float) -> dict[str, Tensor]:
        """The parameters of the network between, under their names in either."""
        robust = dict(self.robust.named_parameters())
        return {name: torch.lerp(weight, robust[name], mix) for name, weight in self.clean.named_parameters()}

    @torch.no_grad()
    def estimate(self, mix: float, batches: Iterable[Tensor]) -> None:
        """Set the batch statistics at a mix between the ends to those of the images in `batches`."""
        between = copy.deepcopy(self.robust).eval()
        between.load_state_dict(self.weights_at(mix), strict=False)
        with estimated_statistics(between):
            for images in batches:
                between(images)
        for key, value in self._statistics_of(between).items():
            getattr(self, _stored(key))[self.mixes.index(mix)] = value

    @staticmethod
    def _statistics_of(network: nn.Module) -> dict[str, Tensor]:
        return {
            f"{path}.{name}".lstrip("."): getattr(norm, name)
            for path, norm in batch_norms(network)
            for name in ("running_mean", "running_var")
        }


def _stored(key: str) -> str:
    """The name of the buffer that holds a statistic of every mix."""
    return key.replace(".", "/")
