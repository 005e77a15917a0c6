"""Latency of deployed models, for pytest-benchmark's storage: `tox -e latency` keeps each run and compares."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import robuststack as rs
from robuststack.layers.full_float32 import full_float32
from workloads import REGISTRY, built, here, synchronise

pytestmark = pytest.mark.bench
RUNTIME = here(precision="float32")
DEFENSES = ("none", "pni", "float", "oat", "floats", "advprop", "adapter_soup")


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("name", DEFENSES)
@pytest.mark.benchmark(warmup=True, warmup_iterations=3, min_rounds=10)
def test_forward_pass(name: str, batch: int, benchmark: Any) -> None:
    """A float32 forward pass of a ResNet-20 at the robust end of the defense's knobs."""
    benchmark.group = f"ResNet-20, batch {batch}"
    defense: rs.Defense = REGISTRY.create("defense", name)
    view = defense.view(built(defense, "resnet20", (3, 32, 32), RUNTIME).eval(), defense.reference_setting())
    x = torch.rand(batch, 3, 32, 32, device=RUNTIME.device).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward() -> None:
        view(x)
        synchronise(RUNTIME.device)

    with full_float32(RUNTIME.device):
        benchmark(forward)
