"""Batch norm in eval mode folded into the convolution before it, for as long as the weights stand still.

With s = gamma / sqrt(var + eps) and t = beta - s * mean, BN(conv(x; w) + b) = conv(x; s w) + s b + t. An attack runs a
network dozens of times between two changes of its weights, and each batch norm costs it two more passes over the
activations, one forward and one backward. On a card only the backward one is saved: there another kernel adds the bias of
cuDNN's convolution.

Two things keep a folded network from being another one. Its layers' arithmetic is compared with the plain network's on a
few images before it is used. And each forward pass is followed (`folded_layers`): if an image takes a way through the
network on which folding is wrong, the pass ends, and whoever attacks starts again on the plain network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from robuststack.layers.condition import View
from robuststack.layers.flow import operations
from robuststack.layers.folded_layers import FoldedConv2d, FoldedNoisyConv2d
from robuststack.layers.full_float32 import full_float32
from robuststack.layers.generators import forked
from robuststack.layers.noise import NoisyConv2d, WeightNoise
from robuststack.layers.safe_convolutions import narrow_in_default_layout

AGREEMENT = 1e-3
"""Largest difference of folded and plain logits, relative to the largest logit: far above rounding, far below a layer that
was folded wrongly."""
T = TypeVar("T")


class FoldedView(View):
    """A view whose forward passes use folded layers: in eval mode, with frozen weights, it computes what the view does.

    A pass that the layers cannot follow raises `folded_layers.Strayed`. Use it by `on_folded`, which starts again on the
    plain view then.
    """

    def __init__(self, view: View, layers: Sequence[FoldedConv2d], stand_ins: StandIns | None = None) -> None:
        super().__init__(view.model, view.values, stochastic=view.stochastic)
        self.layers = layers
        self._stand_ins = stand_ins or StandIns(
            [(layer.conv, layer.convolved) for layer in layers] + [(layer.norm, layer.normed) for layer in layers]
        )

    @property
    def strayed(self) -> bool:
        """Whether one of its passes took a way that its layers cannot follow, whatever became of the error."""
        return any(layer.strayed for layer in self.layers)

    def forward(self, x: Tensor) -> Tensor:
        with self._stand_ins:
            return super().forward(x)

    def subset(self, index: Tensor) -> View:
        return FoldedView(super().subset(index), self.layers, self._stand_ins)


class StandIns:
    """Other forward passes of modules, for as long as the context lasts: for the length of a forward pass the folded layers
    do the work of their convolutions and norms.

    A folded copy of the model would be simpler, and wrong for one that keeps a state of its own, such as a generator that
    the attack would then see twice. It is entered once in every pass, so what can be looked up is looked up before.
    """

    def __init__(self, forwards: Sequence[tuple[nn.Module, Callable[[Tensor], Tensor]]]) -> None:
        self._attributes = [module.__dict__ for module, _ in forwards]
        self._forwards = [forward for _, forward in forwards]
        self._before: list[list[Any]] = []

    def __enter__(self) -> None:
        self._before.append([own.get("forward") for own in self._attributes])
        for own, forward in zip(self._attributes, self._forwards, strict=True):
            own["forward"] = forward

    def __exit__(self, *error: object) -> None:
        for own, before in zip(self._attributes, self._before.pop(), strict=True):
            if before is None:
                own.pop("forward", None)
            else:
                own["forward"] = before


def on_folded(
    views: Sequence[View], folded: Sequence[View], attack: Callable[[Sequence[View]], T]
) -> tuple[T, Sequence[View]]:
    """What `attack` makes with the folded views, or with the plain ones if an image takes a way through the network that
    folding cannot follow; and the views that it was made with. `attack` begins anew each time: it seeds what it draws."""
    stand_ins = [view for view in folded if isinstance(view, FoldedView)]
    layers = [layer for view in stand_ins for layer in view.layers]
    try:
        with StandIns([(layer.conv, layer.outside) for layer in layers]):
            made = attack(folded)
        if not any(view.strayed for view in stand_ins):
            return made, folded
    except torch.OutOfMemoryError:
        raise
    except Exception:  # Compiled code that reads a folded convolution's output has errors of its own.
        if not stand_ins:
            raise
    return attack(views), views


class Folding:
    """What can be folded in one model, found once for each way its views run it (branch, width)."""

    def __init__(self) -> None:
        self._candidates: dict[Hashable, Pairs] = {}
        self._layers: dict[Hashable, tuple[FoldedConv2d, ...]] = {}

    def of(self, view: View, images: Tensor, *, verify: bool = False) -> View:
        """`view` with folded layers, or itself if there are none or if the model says `foldable = False`: its layers then
        read weights that are not their own. `images` [N, C, H, W] are any that it takes.

        What is folded is verified on the first images that come and, with `verify`, on these: it then depends on no others.
        The model is in eval mode with frozen parameters, and stays so while the result is used.
        """
        if not getattr(view.model, "foldable", True):
            return view
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
    """The layers of the pairs; none if folding them would change what the model computes on the images."""
    if not pairs:
        return ()
    with forked(0):
        layers = tuple(
            (FoldedNoisyConv2d if isinstance(conv, NoisyConv2d) else FoldedConv2d)(conv, norm) for conv, norm in pairs
        )
        for layer in layers:
            layer.fold()
        few = _for_images(view, len(images))
        # Arithmetic that goes wrong does so on every image. Dark and bright ones are looked at too: a network that sends
        # them another way is attacked plain from the start, and not a second time.
        same = all(_same_logits(few, layers, looked) for looked in (images, 0.1 * images, 0.9 + 0.1 * images))
        return layers if same else ()


def _same_logits(view: View, layers: Sequence[FoldedConv2d], images: Tensor) -> bool:
    plain, stands_in = _logits(view, images), FoldedView(view, layers)
    try:
        folded = _logits(stands_in, images)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # It went another way, or cannot do with a stand-in.
        return False
    return not stands_in.strayed and bool((plain - folded).abs().max() <= AGREEMENT * plain.abs().max())


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
    before = any(hook is not narrow_in_default_layout for hook in module._forward_pre_hooks.values())
    return bool(before or module._forward_hooks or module._backward_hooks)
