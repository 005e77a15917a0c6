"""The processor: its name, its flags, and how many threads a run may use, found without importing torch."""

from __future__ import annotations

import contextlib
import os
from functools import cache
from pathlib import Path, PurePosixPath


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


INSTRUCTION_BOUNDS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
"""Variables of the environment that keep torch's libraries from using all that the processor has."""


@cache
def cpu_name() -> str:
    """The processor: its model name, family, model and stepping, the widest of its instruction sets that matters here, and
    what the environment forbids of them.

    A virtual machine may show one name for processors that round differently; so does one processor under a bound.
    """
    name, flags = cpu_facts("model name"), cpu_facts("flags").split()
    if not name:
        return "unknown processor"
    widest = next((flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in flags), "")
    kind = "/".join(cpu_facts(key) for key in ("cpu family", "model", "stepping"))
    bounds = [f"{variable}={os.environ[variable]}" for variable in INSTRUCTION_BOUNDS if os.environ.get(variable)]
    return f"{name} ({', '.join([kind, *([widest] if widest else []), *bounds])})"


def cpu_facts(key: str) -> str:
    """What the system says of the first processor under `key`; empty where it says nothing."""
    return _first_processor().get(key, "")


@cache
def _first_processor() -> dict[str, str]:
    facts: dict[str, str] = {}
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:  # Not the whole file: it says the same of each of a hundred processors, and is slow to read.
            key, colon, value = line.partition(":")
            if colon:
                facts.setdefault(key.strip(), value.strip())
            elif facts:
                break
    return facts
