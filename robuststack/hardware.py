"""Which device and precision a run gets, found without importing torch (so that `plan` and `check` stay quick)."""

from __future__ import annotations

import ctypes
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from robuststack.did_you_mean import did_you_mean
from robuststack.errors import RobustStackError
from robuststack.precision import fastest_precision

CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # CUdevice_attribute of the CUDA driver's interface.


@dataclass(frozen=True)
class Hardware:
    """What a run uses: `device` as torch writes it, the arithmetic of training and attacks, the CPU `threads` of a job
    (None: torch's default), and how many jobs run at a time."""

    device: str
    precision: str
    threads: int | None = None
    workers: int = 1

    @property
    def kind(self) -> str:
        """`cpu` or `cuda`, which enters job ids; the number of the card does not."""
        return self.device.partition(":")[0]


def named_device(device: object) -> str:
    """A device as torch writes it, from that text, a `torch.device` or the number of a CUDA device.

    Raises:
        RobustStackError: it is something else.
    """
    if isinstance(device, str):
        return device
    if isinstance(device, int) and not isinstance(device, bool):
        return f"cuda:{device}"
    if type(device).__module__ == "torch" and type(device).__name__ == "device":  # Known without importing torch.
        return str(device)
    raise RobustStackError(f"device={device!r}: valid: 'auto', 'cpu', 'cuda', 'cuda:0' or a torch.device")


def resolve(device: str = "auto", precision: str = "auto") -> Hardware:
    """The device and precision that `auto` stands for here.

    Raises:
        RobustStackError: a device that this machine does not have, or no device at all.
    """
    cards, device = cuda_capabilities(), named_device(device)
    if device == "auto":
        device = "cuda" if cards else "cpu"
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if not match:
        if str(device).startswith("gpu"):
            raise RobustStackError(f"--device {device}: a GPU is named cuda, or cuda:0 and so on by its number")
        raise RobustStackError(f"--device {device}: {did_you_mean(device, ['auto', 'cpu', 'cuda', 'cuda:0'])}")
    index = int(match[1] or 0)
    if device != "cpu" and index >= len(cards):
        problem = f"{len(cards)} CUDA device(s) found" if cards else "no CUDA device is found by this torch build"
        raise RobustStackError(f"--device {device}: {problem}; valid: auto, cpu")
    if precision == "auto":
        precision = fastest_precision(None if device == "cpu" else cards[index])
    return Hardware(device, precision)


@cache
def cuda_capabilities() -> tuple[tuple[int, int], ...]:
    """The compute capability of each CUDA device that the installed torch build can use."""
    if not _torch_has_cuda():
        return ()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    cards = []
    for index in range(count.value):
        pair = []
        for attribute in (CAPABILITY_MAJOR, CAPABILITY_MINOR):
            value = ctypes.c_int()
            driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, index)
            pair.append(value.value)
        cards.append((pair[0], pair[1]))
    return tuple(cards)


def _torch_has_cuda() -> bool:
    """Whether the installed torch is a CUDA build, read from its version file instead of importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"^cuda\b[^=]*=\s*['\"]", text, re.MULTILINE) is not None
