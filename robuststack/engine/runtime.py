"""The device a job runs on, and its arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from itertools import chain

import torch
from torch import nn

from robuststack.errors import RobustStackError
from robuststack.hardware import Hardware
from robuststack.layers.full_float32 import full_float32
from robuststack.layers.safe_convolutions import GUARD, avoid_faults
from robuststack.processor import cpu_name


class Runtime:
    """Where and in which precision a job computes."""

    def __init__(self, hardware: Hardware) -> None:
        self.device = torch.device(hardware.device)
        self.precision = hardware.precision

    def autocast(self) -> AbstractContextManager[object]:
        """Lower precision for the operations that tolerate it; float32 as it is in float32."""
        if self.precision == "float32":
            return self.float32()
        # No cache of casts: torch before about 2.10 keeps those made under no_grad, and a later pass that needs their
        # gradient trains nothing. The other precision casts each weight once a pass anyway.
        casts = torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)
        return _guarded(casts) if self.device.type == "cpu" else casts

    def exact(self) -> Runtime:
        """The same device in float32."""
        runtime = copy(self)
        runtime.precision = "float32"
        return runtime

    def float32(self) -> AbstractContextManager[object]:
        """Where the precision is float32, no other: `ROUNDING` would not cover a CUDA card's TF32, nor what a program lets
        a processor round to. A backward pass takes its arithmetic from where that pass runs."""
        return full_float32(self.device) if self.precision == "float32" else nullcontext()

    def clock(self) -> Callable[[], float]:
        """What tells seconds of a computation. With one thread on a processor it is the time that this process had of it:
        whatever else a machine does while it trains one network and not while it trains another would count otherwise."""
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        return time.process_time if alone else time.perf_counter

    def place(self, model: nn.Module, *, channels_last: bool = True) -> nn.Module:
        """The model on the device, its 4-dimensional weights in channels-last, the layout of the images, or in torch's
        default layout. Expanded tensors, which cannot be written to, get memory of their own."""
        model.to(self.device)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        for tensor in chain(model.parameters(), model.buffers()):
            if tensor.layout is not torch.strided or nn.parameter.is_lazy(tensor):
                continue
            if any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True)):
                tensor.data = tensor.data.contiguous()
            if tensor.dim() == 4:
                tensor.data = tensor.data.to(memory_format=layout)
        if self.device.type == "cpu":
            avoid_faults(model)
        return model


@contextmanager
def _guarded(casts: AbstractContextManager[object]) -> Iterator[None]:
    """Casts around convolutions that a processor gets right in the other precision. A backward pass goes as the forward
    pass went."""
    with casts, GUARD:
        yield


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Compute with this many CPU threads for a while; None leaves it to torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def current_card(device: torch.device) -> Iterator[None]:
    """Make a CUDA card the current one for a while, which a user's function may call by `cuda` alone, and let cuDNN take
    only algorithms that repeat themselves bit for bit, and not by how fast each was just now. Nothing on a CPU.

    Raises:
        RobustStackError: torch cannot use the card.
    """
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    try:
        before = torch.cuda.current_device()
        torch.cuda.set_device(device.index or 0)
    except (RuntimeError, AssertionError) as error:  # A driver that is too old for this torch, say.
        reason = str(error).strip().partition("\n")[0]
        raise RobustStackError(f"--device {device}: torch cannot use it: {reason}; valid: cpu") from error
    chosen = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = chosen
        torch.cuda.set_device(before)


def device_name(hardware: Hardware) -> str:
    """The processor or card that jobs compute on, as results and rows name it."""
    return torch.cuda.get_device_name(hardware.device) if hardware.kind == "cuda" else cpu_name()


def device_of(model: nn.Module) -> torch.device:
    """Where a model lies; the CPU for one without parameters and buffers."""
    return next((tensor.device for tensor in chain(model.parameters(), model.buffers())), torch.device("cpu"))
