"""Which arithmetic `precision: auto` stands for: bf16 where it is faster than float32."""

from __future__ import annotations

from functools import cache

from robuststack.processor import cpu_facts

AMPERE = (8, 0)
"""The first CUDA generation with bf16 matrix units."""


def fastest_precision(capability: tuple[int, int] | None = None) -> str:
    """`bf16` or `float32` for training and attacks, on a CUDA device of this compute capability or on the processor."""
    fast = bool(cpu_bf16()) if capability is None else capability >= AMPERE
    return "bf16" if fast else "float32"


@cache
def cpu_bf16() -> tuple[str, ...]:
    """The processor's bf16 instruction sets that are faster than its float32; empty where there is none.

    AMX is. AVX512-bf16 is on AMD; an Intel processor without AMX (or with AMX hidden by its virtual machine) ran the same
    convolutions at 0.55 times the rate of float32.
    """
    flags, vendor = cpu_facts("flags").split(), cpu_facts("vendor_id")
    wanted = ("amx_bf16", "avx512_bf16") if vendor == "AuthenticAMD" else ("amx_bf16",)
    return tuple(flag for flag in wanted if flag in flags)
