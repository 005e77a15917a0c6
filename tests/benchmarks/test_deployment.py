"""What a deployed model costs: switching its knobs, and a frozen draw beside the plain network."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import robuststack as rs
from robuststack.layers.full_float32 import full_float32
from workloads import REGISTRY, built, here, in_turn

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
RUNTIME = here(precision="float32")
POINTS: dict[str, list[dict[str, float]]] = {
    "float": [{"lambda_n": 0.0}, {"lambda_n": 1.0}],
    "oat": [{"lambda": 0.0}, {"lambda": 1.0}],
    "floats": [{"lambda_n": 1.0, "width": 0.5}, {"lambda_n": 1.0, "width": 1.0}],
}


@pytest.mark.parametrize("name", POINTS)
def test_switching(name: str, table: Any, benchmark: Any) -> None:
    """A new view of the same weights, 100 times in turn between two points."""
    defense: rs.Defense = REGISTRY.create("defense", name)
    model = built(defense, "resnet34", (3, 32, 32), RUNTIME).eval()
    own = {parameter.data_ptr() for parameter in model.parameters()}
    points = [defense.whole_point(point) for point in POINTS[name]]

    def switch() -> None:
        for _ in range(50):
            for point in points:
                defense.deploy(model, point)

    assert {parameter.data_ptr() for parameter in defense.deploy(model, points[0]).parameters()} == own
    seconds = in_turn({"switch": switch}, RUNTIME.device)["switch"] / 100
    work = "switching a deployed ResNet-34"
    table.add(work, f"{name}: {' '.join(POINTS[name][0])}", seconds, target="below 0.001 s")
    benchmark.pedantic(switch, rounds=1)


def test_frozen(table: Any, benchmark: Any) -> None:
    none, defense = REGISTRY.create("defense", "none"), REGISTRY.create("defense", "float")
    model = built(defense, "resnet34", (3, 32, 32), RUNTIME).eval()
    point = defense.whole_point({"lambda_n": 1.0})
    networks = {
        "plain network": built(none, "resnet34", (3, 32, 32), RUNTIME).eval(),
        "float, frozen": RUNTIME.place(defense.deploy(model, point, frozen=True)).eval(),
        "float": defense.deploy(model, point).eval(),
    }
    for batch in (1, 32):
        x = torch.rand(batch, 3, 32, 32, device=RUNTIME.device).contiguous(memory_format=torch.channels_last)

        def forward(network: torch.nn.Module, x: torch.Tensor = x) -> None:
            with torch.no_grad():
                network(x)

        tasks = {name: (lambda network=network: forward(network)) for name, network in networks.items()}
        with full_float32(RUNTIME.device):
            seconds = in_turn(tasks, RUNTIME.device, rounds=9)
        for name, time in seconds.items():
            ratio = time / seconds["plain network"]
            table.add(f"latency, ResNet-34, batch {batch}, float32", name, time, ratio=ratio,
                      target="1 (of the plain network)" if "frozen" in name else "")  # fmt: skip
    benchmark.pedantic(tasks["float, frozen"], rounds=1)
