"""Training steps side by side, against the rate of their own convolutions; what noise and the pipeline around them cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import robuststack as rs
from robuststack.layers.noise import noisy_layers
from workloads import REGISTRY, ConvolutionRate, built, here, in_turn, step_of

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
RUNTIME = here()
BATCH, STEPS = 128, 7


def test_training_steps(table: Any, benchmark: Any) -> None:
    names = ("float", "oat", "pgd_at", "pni")
    tasks = {name: step_of(name, "resnet34", BATCH, STEPS, RUNTIME) for name in names}
    plain = built(REGISTRY.create("defense", "none"), "resnet34", (3, 32, 32), RUNTIME).eval()
    x = torch.rand(BATCH, 3, 32, 32, device=RUNTIME.device).contiguous(memory_format=torch.channels_last)
    rate = ConvolutionRate(plain, x, RUNTIME)
    noisy: rs.Defense = REGISTRY.create("defense", "float")
    # Frozen, as in the attack: the weights' standard deviation is found once.
    layers = [layer for _, layer in noisy_layers(built(noisy, "resnet34", (3, 32, 32), RUNTIME).requires_grad_(False))]

    def draws() -> None:
        with torch.no_grad():
            for _ in range(STEPS + 1):
                for layer in layers:
                    layer.noisy_weight(1.0)

    tasks["n_fgsm"] = step_of("float", "resnet34", BATCH, STEPS, RUNTIME, single="n_fgsm")
    seconds = in_turn({**tasks, "rate": rate, "noise": draws}, RUNTIME.device, rounds=2)
    alone = rate.medians()
    # In units of the whole batch: clean and adversarial passes of training, and the attack's, without weight gradients.
    passes = {
        "float": alone.passes(1 + STEPS / 2, 1 + STEPS / 2, 1),
        "oat": alone.passes(1.75 + 0.75 * STEPS, 1.75 + 0.75 * STEPS, 1.75),
        "pgd_at": alone.passes(2 + STEPS, 2 + STEPS, 2),
        "pni": alone.passes(2 + STEPS, 2 + STEPS, 2),
    }
    work = f"training step, ResNet-34, batch {BATCH}, PGD-{STEPS}"
    targets = {"float": "50% of the rate", "oat": "1.35"}
    for name in names:
        time = seconds[name]
        table.add(
            work, name, time, ratio=time / seconds["float"], share=passes[name] / time, target=targets.get(name, "")
        )
    cheap, least = seconds["n_fgsm"], alone.passes(1.5, 1.5, 1)
    either = f"{work} or N-FGSM"
    table.add(either, "float, N-FGSM", cheap, ratio=cheap / seconds["float"], share=least / cheap, target="at most 0.4")
    # What no step that convolves can get below on this processor: 0.4 if all three kinds of passes take as long.
    table.add(either, "convolutions of both, alone", least, ratio=least / passes["float"])
    noise = seconds["noise"]
    table.add(work, f"of float: noise, {STEPS + 1} draws", noise, ratio=noise / seconds["float"], target="below 0.1")
    benchmark.extra_info["seconds"] = seconds
    benchmark.pedantic(tasks["float"], rounds=1)
