"""Processes whose C library watches over their memory, on each instruction set that the processor has."""

from __future__ import annotations

import atexit
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = Path(__file__).resolve().parents[2]
NEEDED = {
    "AVX2": ("avx2",),
    "AVX512_CORE": ("avx512f", "avx512bw", "avx512dq", "avx512vl"),
    "AVX512_CORE_BF16": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"),
}
"""What oneDNN can be limited to by ONEDNN_MAX_CPU_ISA, and the processor's flags that each one needs."""
BEYOND = {
    "AVX2": ("avx_vnni", "avx512f"),
    "AVX512_CORE": ("avx512_vnni",),
    "AVX512_CORE_BF16": ("avx512_fp16", "amx_tile"),
}
"""Flags of processors on which oneDNN goes further than the best of these sets, if nothing limits it."""
UNLIMITED = "unset"
OVERRUN = """
import ctypes, torch
block = torch.empty(1000)
ctypes.memset(block.data_ptr(), 1, 4001)
del block
"""
"""A program that writes a byte past the end of its memory."""


def instruction_sets() -> list[str]:
    """Those of `NEEDED` that this processor has, and no limit at all where that is another one."""
    there = _flags()
    names = [name for name, needed in NEEDED.items() if there.issuperset(needed)]
    return [*names, *([] if names and there.isdisjoint(BEYOND[names[-1]]) else [UNLIMITED])]


def _flags() -> set[str]:
    """The processor's, as the system names them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(flags[1].split()) if flags else set()


def has_amx() -> bool:
    """Whether oneDNN computes bf16 with AMX here, if nothing limits it."""
    return "amx_bf16" in _flags()


@cache
def guard_pages() -> str | None:
    """`guard_pages.c` as a library, until this process ends; None where there is no C compiler, or no Linux."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    folder = tempfile.mkdtemp(prefix="guard-pages-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = Path(folder, "guard_pages.so")
    command = [compiler, "-O1", "-shared", "-fPIC", str(HERE / "guard_pages.c"), "-o", str(library), "-ldl"]
    done = subprocess.run(command, capture_output=True, check=False)
    return str(library) if done.returncode == 0 else None


def environment(instruction_set: str, *, pages: bool = True) -> dict[str, str]:
    """The variables of a process of one thread, limited to an instruction set, that dies when memory past the end of a
    block is written, and gets blocks full of noise.

    With `pages` and a C compiler by an allocator of guard pages, else by the checks of the C library.
    """
    variables = {key: value for key, value in os.environ.items() if key != "ONEDNN_MAX_CPU_ISA"}
    if instruction_set != UNLIMITED:
        variables["ONEDNN_MAX_CPU_ISA"] = instruction_set
    library, version = platform.libc_ver()
    if pages and (watcher := guard_pages()):
        variables["LD_PRELOAD"] = watcher
    elif library == "glibc" and tuple(int(part) for part in version.split(".")[:2]) >= (2, 34):
        # From there on MALLOC_CHECK_ is deaf without this library of glibc's own.
        variables["LD_PRELOAD"] = "libc_malloc_debug.so.0"
    variables |= {"MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165", "OMP_NUM_THREADS": "1"}
    variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    return variables


@cache
def watched(*, pages: bool = True) -> bool:
    """Whether such a process dies here when it writes past the end of its memory."""
    command, variables = [sys.executable, "-c", OVERRUN], environment(UNLIMITED, pages=pages)
    return subprocess.run(command, env=variables, capture_output=True, check=False).returncode < 0
