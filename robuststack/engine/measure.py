"""What a model costs: parameters, multiply-accumulates, and the time of a forward pass."""

from __future__ import annotations

import contextlib
import statistics
import time
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from robuststack.contracts import Architecture, Defense, Setting
from robuststack.engine.attack import still
from robuststack.engine.building import network
from robuststack.engine.device import Runtime, device_of, exact


def blueprint(defense: Defense, architecture: Architecture, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """The model without its weights, which is all that counting needs: nothing is drawn and no memory is filled."""
    with contextlib.suppress(RuntimeError, ValueError, AssertionError), torch.device("meta"):
        return defense.build(architecture, shape, num_classes).eval()
    # An architecture that computes with its weights while it is built needs real ones.
    return network(defense, architecture, shape, num_classes).eval()


@torch.no_grad()
def macs(view: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of one image: convolutions and matrix products, as torch counts them (two operations each)."""
    image = torch.zeros(1, *shape, device=device_of(view))
    with still(view), FlopCounterMode(display=False) as counter:
        view(image)
    return int(counter.get_total_flops()) // 2


@torch.no_grad()
def latency(
    view: nn.Module, shape: tuple[int, int, int], batch: int, repeats: int, warmup: int, device: torch.device
) -> dict[str, float]:
    """Milliseconds of a float32 forward pass of `batch` images: median and quartiles over `repeats`."""
    images = torch.rand(batch, *shape, device=device).contiguous(memory_format=torch.channels_last)
    with still(view), exact():
        for _ in range(warmup):
            view(images)
        times = [_timed(view, images, device) for _ in range(repeats)]
    low, median, high = statistics.quantiles(times, n=4)
    return {"median": median, "low": low, "high": high}


def _timed(view: nn.Module, images: torch.Tensor, device: torch.device) -> float:
    if device.type == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        view(images)
        end.record()
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
) -> dict[str, Any]:
    """Parameters, MACs and, where wanted, latency at batch 1 and at the larger batch."""
    view = defense.view(model, setting)
    result: dict[str, Any] = {
        "parameters": defense.parameters(model, setting),
        "nonzero_parameters": defense.nonzero_parameters(model, setting),
        "macs": macs(view, shape),
    }
    batches = (1, options["batch_size"]) if options["latency"] else ()
    result["latency_ms"] = {
        str(batch): latency(view, shape, batch, options["repeats"], options["warmup"], runtime.device)
        for batch in dict.fromkeys(batches)
    }
    return result
