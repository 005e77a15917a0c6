"""The speed of a network is that of one pass, as the work of a job counts the passes of an answer."""

from __future__ import annotations

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from robuststack.engine import network_speed
from robuststack.hardware import Hardware
from robuststack.plan.planner import make_plan
from robuststack.plan.speed import networks
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite

SUITE = """
datasets: {{name: tradeoff, options: {{images: 60, test_images: 30, size: 8, classes: 4}}}}
architectures: {{name: resnet8, options: {{width: 4}}}}
threat: {{eps: 0.1}}
train: {{epochs: 1, batch_size: 30, attack: {{name: pgd, options: {{steps: 1}}}}}}
defenses: [{defense}]
attacks: [fgsm]
precision: float32
threads: 1
device: cpu
"""


class Convolutions(TorchDispatchMode):
    """Counts the convolutions that run, forward and backward."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += "convolution" in function.name()
        return function(*args, **(kwargs or {}))


def convolutions(work, runtime):
    """In place of seconds: the convolutions of a call."""
    with Convolutions() as counter:
        work()
    return float(counter.count)


@pytest.fixture
def speed(tmp_path, monkeypatch):
    """Defense -> what its network costs an image and pass, in convolutions."""
    monkeypatch.setattr(network_speed, "_quickest", convolutions)

    def measured(defense):
        path = tmp_path / "suite.yaml"
        path.write_text(SUITE.format(defense=defense))
        registry, hardware = Registry(), Hardware("cpu", "float32", 1)
        plan = make_plan(load_suite(path), registry, hardware)
        return network_speed.network_speed(next(iter(networks(plan).values())), registry, hardware)

    return measured


@pytest.mark.parametrize("defense", ["{name: rse, points: {ensemble: 7}}", "{name: logit_mix, points: {alpha: 0.5}}"])
def test_an_answer_of_several_passes_is_as_fast_as_each_of_them(speed, defense):
    alone, several = speed("none"), speed(defense)
    assert several.answer == pytest.approx(alone.answer, rel=0.05)
    assert several.gradient == pytest.approx(alone.gradient, rel=0.05)
