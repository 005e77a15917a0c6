"""Models with habits of their own, each a function without arguments for `--python brought_habits:NAME`: what they do to the
process, to their input's place in the batch, and to who calls them."""

from __future__ import annotations

import functools
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from brought import Outer, base
from torch import Tensor, nn

from referee import Base


def changed(change: Any) -> type[nn.Module]:
    """A class whose forward pass gives images and the small network to a function."""

    class Changed(Outer):
        def forward(self, x: Tensor) -> Any:
            return change(x, self.net)

    return Changed


def setting(change: Any) -> type[nn.Module]:
    """One that changes something in the process before it computes."""
    return changed(lambda x, net: (change(), net(x))[1])


class SetAfterwards(Outer):
    """Switches gradients off when it is done."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        torch.set_grad_enabled(False)
        return logits


class Remembers(Outer):
    """Keeps every batch that it saw, and the last features."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(x)
        self.last = self.net.features(x)
        return self.net.fc(self.last.flatten(1))


class Remembering(Outer):
    """Looks up what it computed for as many images before."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[Any, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        key = (x.shape, torch.is_grad_enabled())
        if key not in self.known:
            self.known[key] = self.net(x)
        return self.known[key]


class Threaded(Outer):
    """Computes parts of a batch in threads, which have gradient modes of their own."""

    def forward(self, x: Tensor) -> Tensor:
        gradients = torch.is_grad_enabled()

        def part(images: Tensor) -> Tensor:
            with torch.set_grad_enabled(gradients):
                return self.net(images)

        with ThreadPoolExecutor(2) as pool:
            return torch.cat(list(pool.map(part, x.chunk(2))))


class Forwards(Outer):
    """Takes what it is given, and has attributes of the network inside."""

    def forward(self, x: Tensor, *more: Any, **named: Any) -> Tensor:
        return self.net(x)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("net"), name)


class MovesToNothing(Outer):
    """`to` returns nothing, and there are no parameters to be seen."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def to(self, *where: Any, **named: Any) -> None:  # type: ignore[override]
        super().to(*where, **named)

    def parameters(self, recurse: bool = True) -> Any:
        return iter(())


class Clamps(Outer):
    """Writes into a weight before it uses it."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.net.fc.weight.clamp_(-1, 1)
        return self.net(x)


def sets_default_type_in_a_hook() -> nn.Module:
    net = base()
    net.register_forward_pre_hook(lambda *_: torch.set_default_dtype(torch.float64))
    return net


def exported() -> nn.Module:
    count = torch.export.Dim("count")
    return torch.export.export(base(), (torch.rand(3, 3, 8, 8),), dynamic_shapes=({0: count},)).module()


def exported_for_three() -> nn.Module:
    return torch.export.export(base(), (torch.rand(3, 3, 8, 8),)).module()


def without_values() -> nn.Module:
    with torch.device("meta"):
        return Base()


def damaged() -> nn.Module:
    net = base()
    with torch.no_grad():
        net.fc.weight[0, 0] = torch.nan
        net.fc.bias.fill_(torch.nan)
    return net


def crops(x: Tensor, net: nn.Module) -> Tensor:
    return torch.stack([net(x), net(x.flip(3))]).mean(0)


def under_autocast(x: Tensor, net: nn.Module) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return net(x)


def with_tangent(x: Tensor, net: nn.Module) -> Tensor:
    logits, tangent = torch.func.jvp(net, (x,), (0.01 * torch.ones_like(x),))
    return logits + tangent


def seeded_noise(x: Tensor, net: nn.Module) -> Tensor:
    torch.manual_seed(0)
    return net(x + 0.3 * torch.randn_like(x))


def one_seeded_noise(x: Tensor, net: nn.Module) -> Tensor:
    torch.manual_seed(0)
    return net(x + 0.1 * torch.randn(1, *x.shape[1:]))


def every_other(x: Tensor, net: nn.Module) -> Tensor:
    return net(x) * torch.where(torch.arange(len(x)) % 2 == 0, 1, -1)[:, None]


class Logits(torch.Tensor):
    """As torchvision's and other libraries' tensors that know what they hold."""


@dataclass
class AsDataclass(nn.Module):
    """Python takes away its hash, which torch lists modules by."""

    width: int = 4

    def __post_init__(self) -> None:
        super().__init__()
        self.net = base()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


MODELS = {
    "exported": exported,
    "tensors_of_its_own": changed(lambda x, net: net(x).as_subclass(Logits)),
    "compiled": lambda: torch.compile(base(), backend="eager", dynamic=True),
    "synchronised_norm": lambda: nn.SyncBatchNorm.convert_sync_batchnorm(base()),
    "a_partial": lambda: functools.partial(base()),
    "a_lambda": lambda: (lambda net: lambda x: net(x))(base()),
    "remembers": Remembers,
    "threaded": Threaded,
    "clamps": Clamps,
    "forwards": Forwards,
    "moves_to_nothing": MovesToNothing,
    "in_chunks": changed(lambda x, net: torch.cat([net(part) for part in x.split(7)])),
    "crops": changed(crops),
    "under_autocast": changed(under_autocast),
    "with_tangent": changed(with_tangent),
    "functional": changed(lambda x, net: torch.func.functional_call(net, dict(net.named_parameters()), (x,))),
    "through_224": changed(lambda x, net: net(nn.functional.interpolate(x, 224, mode="bicubic")[:, :, ::28, ::28])),
    "masked_losers": changed(
        lambda x, net: (lambda y: torch.where(y < y.mean(1, keepdim=True), -torch.inf, y))(net(x))
    ),
    "one_seeded_noise": changed(one_seeded_noise),
    "seeds": setting(lambda: (torch.manual_seed(0), np.random.seed(0))),
    "sets_default_type": setting(lambda: torch.set_default_dtype(torch.float64)),
    "sets_threads": setting(lambda: torch.set_num_threads(2)),
    "sets_deterministic": setting(lambda: torch.use_deterministic_algorithms(True)),
    "sets_anomaly_detection": setting(lambda: torch.autograd.set_detect_anomaly(True)),
}
REFUSED = {
    "as_dataclass": (AsDataclass, "cannot be listed: TypeError: unhashable type: 'AsDataclass' (a dataclass that is"),
    "exported_for_three": (exported_for_three, "cannot take images of shape [3, 8, 8]: AssertionError: Guard failed"),
    "without_values": (without_values, "has no weights: conv1.weight is on torch's meta device"),
    "damaged": (damaged, "gives NaN for each of 8 images; fc.weight holds NaN"),
    "overflows": (
        changed(lambda x, net: net(x) * torch.inf * 0), "none of its weights is NaN, so it divides by zero or overflows",
    ),
    "seeded_noise": (changed(seeded_noise), "gives an image other logits at another place in the batch"),
    "every_other": (changed(every_other), "gives an image other logits at another place in the batch"),
    "remembering": (Remembering, "gives an image other logits at another place in the batch"),
    "a_class": (lambda: Base, "gives the class Base; valid: a torch.nn.Module that returns logits, or a function"),
    "a_number": (lambda: 3, "gives int; valid: a torch.nn.Module that returns logits, or a function of images"),
    "exits": (setting(lambda: sys.exit(0)), "cannot take images of shape [3, 8, 8]: RuntimeError: it calls sys.exit(0)"),
    "without_gradients": (changed(torch.no_grad()(lambda x, net: net(x))), "gives no gradients, which attacks here need"),
    "sets_default_type_in_a_hook": (sets_default_type_in_a_hook, "a hook of the model changes settings of torch"),
    "for_thirty": (changed(lambda x, net: net(x.view(30, 3, 8, 8))), "cannot take images of shape [3, 8, 8]"),
    "complex_logits": (changed(lambda x, net: net(x).to(torch.cfloat)), "returns complex numbers; valid: real logits"),
}  # fmt: skip


# `--python brought_habits:NAME` finds them as it finds functions of a module.
globals().update(MODELS, **{name: make for name, (make, _) in REFUSED.items()})
instance = base()
