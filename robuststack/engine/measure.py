"""What a model costs: parameters, multiply-accumulates, and the time of a forward pass."""

from __future__ import annotations

import contextlib
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.build import network
from robuststack.engine.products import PRODUCTS
from robuststack.engine.runtime import Runtime, device_of
from robuststack.layers.full_float32 import full_float32
from robuststack.plugin.architecture import Architecture
from robuststack.plugin.defense import Defense
from robuststack.plugin.operating_point import Setting


def blueprint(defense: Defense, architecture: Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """The model without its weights, which is all that counting needs: nothing is drawn and no memory is filled."""
    with contextlib.suppress(RuntimeError, ValueError, AssertionError), torch.device("meta"):
        return defense.build(architecture, shape, num_classes).eval()
    # An architecture that computes with its weights while it is built needs real ones.
    return network(defense, architecture, shape, num_classes).eval()


@torch.no_grad()
def macs(view: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of one image: convolutions and matrix products, as torch counts them (two operations each); a
    sparse matrix has those of its stored elements.

    Kernels that compute several layers at once, which nothing is counted of, are off meanwhile: those of attention, of
    transformer layers and of recurrent ones.
    """
    # Gray: a model may refuse an image that is all black.
    image = torch.full((1, *shape), 0.5, device=device_of(view))
    counter = FlopCounterMode(display=False, custom_mapping=PRODUCTS)
    # By default it tells modules apart, with hooks that fail in networks that take a gradient in their forward pass.
    counter.mod_tracker = _Whole()  # type: ignore[assignment]
    with frozen_eval(view), _layer_by_layer(), counter:
        view(image)
    return int(counter.get_total_flops()) // 2


class _Whole(contextlib.nullcontext[None]):
    """Stands in for torch's `ModuleTracker`: all operations are the whole model's."""

    parents = frozenset({"Global"})


@contextlib.contextmanager
def _layer_by_layer() -> Iterator[None]:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel([SDPBackend.MATH]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of settings for other processors.
            with torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@torch.no_grad()
def latency(
    view: nn.Module,
    plain: nn.Module | None,
    shape: tuple[int, int, int],
    batch: int,
    repeats: int,
    warmup: int,
    device: torch.device,
) -> dict[str, float]:
    """Milliseconds of a float32 forward pass of `batch` images: median and quartiles over `repeats`.

    `plain`, the same architecture undefended, is timed in turn with it: `relative` is the ratio of the medians, which holds
    when the machine's speed drifts.
    """
    images = torch.rand(batch, *shape, device=device).contiguous(memory_format=torch.channels_last)
    times: list[list[float]] = [[], []]
    with frozen_eval(view), frozen_eval(plain or nn.Identity()), full_float32(device):
        for number in range(warmup + repeats):
            for module, seen in zip((view, plain), times, strict=True):
                if module is not None:
                    taken = _timed(module, images, device)
                    seen += [taken] if number >= warmup else []
    low, median, high = statistics.quantiles(times[0], n=4)
    relative = {"relative": median / statistics.median(times[1])} if plain is not None else {}
    return {"median": median, "low": low, "high": high, **relative}


def _timed(view: nn.Module, images: torch.Tensor, device: torch.device) -> float:
    if device.type == "cuda":
        # The card's own stream: an event is recorded on that of the current card, which may be another.
        stream = torch.cuda.current_stream(device)
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record(stream)
        view(images)
        end.record(stream)
        end.synchronize()
        return float(begin.elapsed_time(end))
    started = time.perf_counter()
    view(images)
    return 1000 * (time.perf_counter() - started)


def measure(
    defense: Defense,
    model: nn.Module,
    setting: Setting,
    shape: tuple[int, int, int],
    runtime: Runtime,
    options: dict[str, Any],
    plain: nn.Module | None = None,
    may_miss: Callable[[int, Exception], bool] = lambda batch, error: False,
) -> dict[str, Any]:
    """Parameters, MACs and, where wanted, latency at batch 1 and at the larger batch, also relative to `plain`; without the
    latency of a batch at which the model fails, if `may_miss` says so of its error."""
    view = defense.view(model, setting)
    result: dict[str, Any] = {
        "parameters": defense.parameters(model, setting),
        "nonzero_parameters": defense.nonzero_parameters(model, setting),
        "macs": macs(view, shape),
    }
    batches = (1, options["batch_size"]) if options["latency"] else ()
    result["latency_ms"] = {}
    for batch in dict.fromkeys(batches):
        try:
            timed = latency(view, plain, shape, batch, options["repeats"], options["warmup"], runtime.device)
        except Exception as error:
            if not may_miss(batch, error):
                raise
        else:
            result["latency_ms"][str(batch)] = timed
    return result
