"""Models as other libraries and habits make them, each a function without arguments for `--python brought:NAME`."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from referee import Base, taught


@cache
def _weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return taught(Base()).state_dict()


def base() -> nn.Module:
    weights = _weights()
    torch.manual_seed(0)
    net = Base().eval()
    net.load_state_dict(weights)
    return net


class Outer(nn.Module):
    """A module around a trained one."""

    def __init__(self) -> None:
        super().__init__()
        self.net = base()


class Output(OrderedDict):
    """As transformers' ModelOutput: a dictionary with attributes."""

    def __getattr__(self, key: str) -> Any:
        return self[key]


class Transformers(Outer):
    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> Output:
        return Output(loss=None, logits=self.net(pixel_values), hidden_states=None)


class LearnedNormalisation(Base):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.std = nn.Parameter(torch.full((3, 1, 1), 0.4)), nn.Parameter(torch.full((3, 1, 1), 0.2))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x - self.mean) / self.std)


class Fourier(Base):
    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(1 + 0.1 * torch.randn(3, 8, 5, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.fft.irfft2(torch.fft.rfft2(x) * self.filter, s=x.shape[-2:]))


class ComplexProduct(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(4, 3, 8, 8, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nchw,kchw->nk", x.to(torch.cfloat), self.weight).abs()


class DeepSupervision(Base):
    """A list of logits in train mode, logits alone in eval mode, and it is in train mode."""

    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return [logits, logits] if self.training else logits


class OwnCall(Base):
    def __call__(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return 2 * super().__call__(x) - 1


class Mapped(Base):
    def forward(self, x: Tensor) -> Tensor:
        return torch.func.vmap(lambda image: self.fc(self.conv2(self.conv1(image)).relu().flatten()))(x)


class Checkpointed(Base):
    reentrant = False

    def features(self, x: Tensor) -> Tensor:
        return checkpoint(super().features, x, use_reentrant=self.reentrant)


class CheckpointedReentrant(Checkpointed):
    reentrant = True


class Purifying(Base):
    """Takes a gradient in its forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(super().forward(point).logsumexp(1).sum(), point)
        return super().forward(x + 0.01 * gradient.sign())


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows, self.fc = nn.GRU(24, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rows(x.permute(0, 2, 1, 3).reshape(len(x), 8, 24))[1][-1])


class Resizing(Base):
    def forward(self, x: Tensor) -> Tensor:
        large = F.interpolate(x, 32, mode="bilinear", antialias=True)
        return super().forward(F.interpolate(large, 8, mode="area"))


class PlainList(nn.Module):
    """Members in a plain list: no parameters that torch knows of, and no mode that reaches them."""

    def __init__(self) -> None:
        super().__init__()
        self.members = [base(), base()]

    def forward(self, x: Tensor) -> Tensor:
        return sum(member(x) for member in self.members) / 2


class Doubles(Outer):
    """Weights of two types."""

    def __init__(self) -> None:
        super().__init__()
        self.net.double()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return (self.net(x.double()) * self.scale).float()


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.LazyLinear(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


def _taught(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return taught(kind())


def _quietly(make: Any, *arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(*arguments)


def _parametrised(register: Any, *layers: str) -> nn.Module:
    torch.manual_seed(0)
    net = Base()
    for layer in layers:
        _quietly(register, getattr(net, layer))
    return taught(net)


def _hooked() -> nn.Module:
    net = base()
    net.conv1.register_forward_hook(lambda module, inputs, output: output + 0.3)
    net.fc.register_forward_pre_hook(lambda module, inputs: (1.5 * inputs[0],))
    net.register_forward_hook(lambda module, inputs, output: output - output.mean(1, keepdim=True))
    return net


def _deep() -> nn.Module:
    net = DeepSupervision()
    net.load_state_dict(base().state_dict())
    return net.train()


class Stacked(nn.Module):
    """Two networks by the recipe of torch's documentation: their weights in stacks, and a skeleton without values."""

    def __init__(self) -> None:
        super().__init__()
        members = [base(), base()]
        members[1].fc.weight.data.mul_(-0.3)
        weights, self.statistics = torch.func.stack_module_state(members)
        self.names, self.weights = list(weights), nn.ParameterList(weights.values())
        self.skeleton = [copy.deepcopy(members[0]).to("meta")]

    def forward(self, x: Tensor) -> Tensor:
        def one(weights: dict[str, Tensor], statistics: dict[str, Tensor]) -> Tensor:
            return torch.func.functional_call(self.skeleton[0], (weights, statistics), (x,))  # type: ignore[no-any-return]

        return torch.func.vmap(one)(dict(zip(self.names, self.weights, strict=True)), self.statistics).mean(0)


MODELS = {
    "transformers": Transformers,
    "learned_normalisation": lambda: _taught(LearnedNormalisation),
    "weight_norm": lambda: _parametrised(nn.utils.parametrizations.weight_norm, "conv1", "conv2"),
    "weight_norm_by_hooks": lambda: _parametrised(nn.utils.weight_norm, "conv1"),
    "spectral_norm": lambda: _parametrised(nn.utils.parametrizations.spectral_norm, "conv1", "fc"),
    "script": lambda: _quietly(torch.jit.script, base()),
    "frozen_script": lambda: _quietly(torch.jit.freeze, _quietly(torch.jit.script, base()).eval()),
    "fx": lambda: torch.fx.symbolic_trace(base()),
    "data_parallel": lambda: nn.DataParallel(base()),
    "half": lambda: base().half(),
    "doubles": Doubles,
    "fourier": lambda: _taught(Fourier),
    "complex_product": lambda: _taught(ComplexProduct),
    "deep_supervision": _deep,
    "own_call": lambda: _taught(OwnCall),
    "hooks": _hooked,
    "vmap": lambda: _taught(Mapped),
    "stacked": Stacked,
    "checkpointed": lambda: _taught(Checkpointed),
    "purifying": lambda: _taught(Purifying),
    "recurrent": lambda: _taught(Recurrent),
    "resizing": lambda: _taught(Resizing),
    "plain_list": PlainList,
}
REFUSED = {
    "lazy": (Lazy, "has no weights yet: fc.weight is of a lazy layer"),
    "checkpointed_reentrant": (lambda: _taught(CheckpointedReentrant), "gives no gradients, which attacks here need"),
}


# `--python brought:NAME` finds them as it finds functions of a module.
globals().update(MODELS, **{name: make for name, (make, _) in REFUSED.items()})
