"""Which device and precision a run gets, found without importing torch (so that `plan` and `check` stay quick)."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from robuststack.errors import RobustStackError, did_you_mean

AMPERE = (8, 0)  # The first CUDA generation with bf16 matrix units.
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


def cpu_threads() -> int:
    """How many threads a run may use: `OMP_NUM_THREADS` where it is set, or the processors this process may run on, as far
    as the quota of its control group goes."""
    return _pinned() or min(_processors(), cpu_quota() or _processors())


def quota_threads() -> int | None:
    """The threads of a job where the control group allows less than the processors would; None where torch's default, all
    processors, is right."""
    quota = cpu_quota()
    return quota if quota is not None and quota < _processors() and not _pinned() else None


def _pinned() -> int:
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(text) if text.isdecimal() else 0


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cpu_quota(root: Path | None = None, own: Path | None = None) -> int | None:
    """The processors' worth of time that Linux' control groups allow this process, rounded up: the least of its group and
    of those above it. None without a limit.

    `root` is where the groups are mounted (version 2: `cpu.max`; version 1: `cpu/cpu.cfs_quota_us`), `own` the file that
    says which groups this process is in. A container sees its own group at the root, whatever that file says.
    """
    root, own = root or CGROUPS, own or OWN_CGROUPS
    folders = [root, root / "cpu", root / "cpu,cpuacct"]
    for line in _text(own).splitlines():
        _, controllers, inside = [*line.split(":", 2), "", ""][:3]
        tops = [root] if not controllers else folders[1:] if "cpu" in controllers.split(",") else []
        group = PurePosixPath(inside.lstrip("/"))
        folders += [top / part for top in tops for part in (group, *group.parents)]
    limits = [limit for folder in dict.fromkeys(folders) if (limit := _limit(folder))]
    return min(limits, default=None)


def _limit(folder: Path) -> int | None:
    """The limit of one control group."""
    written = _text(folder / "cpu.max").split() or [
        _text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
    ]
    if len(written) != 2 or not all(number.isdecimal() and int(number) for number in written):
        return None  # `max`, -1, or no such files.
    quota, period = (int(number) for number in written)
    return -(-quota // period)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def resolve(device: str = "auto", precision: str = "auto") -> Hardware:
    """The device and precision that `auto` stands for here.

    Raises:
        RobustStackError: a device that this machine does not have, or no device at all.
    """
    cards = cuda_capabilities()
    if device == "auto":
        device = "cuda" if cards else "cpu"
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if not match:
        raise RobustStackError(f"--device {device}: {did_you_mean(device, ['auto', 'cpu', 'cuda', 'cuda:0'])}")
    index = int(match[1] or 0)
    if device != "cpu" and index >= len(cards):
        problem = f"{len(cards)} CUDA device(s) found" if cards else "no CUDA device is found by this torch build"
        raise RobustStackError(f"--device {device}: {problem}; valid: auto, cpu")
    if precision == "auto":
        fast = cards[index] >= AMPERE if device != "cpu" else bool(cpu_bf16())
        precision = "bf16" if fast else "float32"
    return Hardware(device, precision)


@cache
def cpu_bf16() -> tuple[str, ...]:
    """The processor's bf16 instruction sets that are faster than its float32; empty where there is none.

    AMX is. AVX512-bf16 is on AMD; an Intel processor without AMX (or with AMX hidden by its virtual machine) ran the same
    convolutions at 0.55 times the rate of float32.
    """
    flags, vendor = _cpu_facts("flags").split(), _cpu_facts("vendor_id")
    wanted = ("amx_bf16", "avx512_bf16") if vendor == "AuthenticAMD" else ("amx_bf16",)
    return tuple(flag for flag in wanted if flag in flags)


INSTRUCTION_BOUNDS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
"""Variables of the environment that keep torch's libraries from using all that the processor has."""


@cache
def cpu_name() -> str:
    """The processor: its model name, family, model and stepping, the widest of its instruction sets that matters here, and
    what the environment forbids of them.

    A virtual machine may show one name for processors that round differently; so does one processor under a bound.
    """
    name, flags = _cpu_facts("model name"), _cpu_facts("flags").split()
    if not name:
        return "unknown processor"
    widest = next((flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in flags), "")
    kind = "/".join(_cpu_facts(key) for key in ("cpu family", "model", "stepping"))
    bounds = [f"{variable}={os.environ[variable]}" for variable in INSTRUCTION_BOUNDS if os.environ.get(variable)]
    return f"{name} ({', '.join([kind, *([widest] if widest else []), *bounds])})"


def _cpu_facts(key: str) -> str:
    """What the system says of the first processor under `key`; empty where it says nothing."""
    match = re.search(rf"^{key}\s*:[ \t]*(.*)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    return match[1].strip() if match else ""


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
