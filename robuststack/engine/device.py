"""The device a job runs on, its arithmetic, and its random streams."""

from __future__ import annotations

import ctypes
import gc
import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import chain

import torch
from torch import Tensor, nn

from robuststack.errors import RobustStackError
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from robuststack.layers.exact import exact
from robuststack.layers.generators import forked
from robuststack.layers.pointwise import avoid_fault

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # Parameters of glibc's mallopt.
ROUNDING = {"float32": 1e-4, "bf16": 2.0**-5}
"""How far a logit may be off after all layers of a network, relative to the largest logit."""


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
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)

    def float32(self) -> AbstractContextManager[object]:
        """Where the precision is float32, no other: `ROUNDING` would not cover a CUDA card's TF32, nor what a program lets
        a processor round to. A backward pass takes its arithmetic from where that pass runs."""
        return exact(self.device) if self.precision == "float32" else nullcontext()

    def place(self, model: nn.Module) -> nn.Module:
        """The model on the device, convolution weights laid out channels-last, the layout of the images."""
        model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.device.type == "cpu":
            avoid_fault(model)
        return model


def keep_memory() -> None:
    """Let this process keep the memory it frees, for its next batch.

    By default glibc gives blocks the size of activations back to the system at once, which hands them out again page by
    page, zeroed: a tenth of the time of an attack on a small network. Other C libraries have no such call.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for parameter, value in ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, (1 << 31) - 1), (M_TOP_PAD, 64 << 20)):
            library.mallopt(parameter, value)


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
def card(device: torch.device) -> Iterator[None]:
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


def out_of_memory(error: BaseException) -> bool:
    """Whether a device had no memory left. Libraries below torch say so by errors of their own."""
    texts = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(one in str(error) for one in texts)
    )


def release() -> None:
    """Give back the memory of tensors that nothing uses any more."""
    gc.collect()
    torch.cuda.empty_cache()


def device_of(model: nn.Module) -> torch.device:
    """Where a model lies; the CPU for one without parameters and buffers."""
    return next((one.device for one in chain(model.parameters(), model.buffers())), torch.device("cpu"))


class Tally:
    """What is counted of an attack's model: forward passes and, of the images that are not fooled yet, gradients in all,
    those that are zero, and those that are not finite. A failing gradient looks like robustness."""

    def __init__(self, device: torch.device) -> None:
        self.calls = 0
        self.gradients = torch.zeros(3, device=device)

    def watch(self, gradient: Tensor, counted: Tensor) -> None:
        """Count those of a batch of gradients [N, C, H, W] where `counted` [N] is true, without waiting for the device."""
        rows = gradient.flatten(1)
        zero = (counted & (rows == 0).all(1)).sum()
        broken = (counted & (~torch.isfinite(rows)).any(1)).sum()
        self.gradients += torch.stack([counted.sum(), zero, broken])


class Fast(nn.Module):
    """A view as attacks see it: the job's precision inside, float32 logits outside.

    Where it has a tally, the host's loop tells it of each gradient. `final` says that the images are judged on this view.
    """

    def __init__(self, view: nn.Module, runtime: Runtime, tally: Tally | None = None, *, final: bool = True) -> None:
        super().__init__()
        self.view = view
        self.training = view.training  # Attack libraries put back what they read here.
        self.runtime = runtime
        self.tally = tally
        self.stochastic = bool(getattr(view, "stochastic", False))
        self.final = final

    @property
    def settles(self) -> bool:
        """Whether an image that it gets wrong is won: it draws no noise, and no other view judges the image."""
        return self.final and not self.stochastic

    def forward(self, x: Tensor) -> Tensor:
        if self.tally is not None:
            self.tally.calls += 1
        with self.runtime.autocast():
            return self.view(x).float()  # type: ignore[no-any-return]

    def take(self, index: Tensor) -> Fast:
        """The same model for a batch reindexed by `index` (positions [M], or a boolean mask [N]), with the same tally."""
        view = self.view.take(index) if isinstance(self.view, View) else self.view
        return Fast(view, self.runtime, self.tally, final=self.final)

    def slack(self, logits: Tensor) -> Tensor:
        """By how much, for each sample [N], a margin may be off in this precision: a verdict closer than this is open."""
        return ROUNDING[self.runtime.precision] * logits.abs().amax(1)


def stream_seed(*parts: object) -> int:
    """A seed for one random stream, from what names it: job seed, stream, epoch, batch."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def generator(device: torch.device, *parts: object) -> torch.Generator:
    """A generator of one named stream."""
    return torch.Generator(device).manual_seed(stream_seed(*parts))


@contextmanager
def seeded(*parts: object) -> Iterator[None]:
    """Seed the default generators from a stream's name, and put their state back afterwards.

    Layers draw from the default generators: a generator object inside a layer breaks compilation, dropout ignores it,
    and this way a resumed run needs no saved random state.
    """
    with forked(stream_seed(*parts)):
        yield


@contextmanager
def seeded_from(source: torch.Generator) -> Iterator[int]:
    """Seed the default generators, and yield the seed, by a number drawn from `source`.

    For libraries that take no generator: what they draw is a function of it, and their own seeding ends here.
    """
    seed = int(torch.randint(2**31, (1,), generator=source, device=source.device))
    with forked(seed):
        yield seed
