"""The layout of built-in models: channels-last, the order in which convolutions read them, noisy ones too."""

from __future__ import annotations

import pytest
import torch

from robuststack.engine.fitted import Needs, needs_of
from robuststack.engine.models import build
from robuststack.engine.runtime import Runtime
from robuststack.engine.workspace import ready
from robuststack.hardware import Hardware
from robuststack.plugin.registry import Registry

REGISTRY = Registry()
TRAINED = [name for name in REGISTRY.names("defense") if ":" not in name and REGISTRY.create("defense", name).trains]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", TRAINED)
def test_a_built_in_model_needs_nothing(name: str, channels: int) -> None:
    defense = REGISTRY.create("defense", name, {})
    architecture = REGISTRY.create("architecture", "resnet8", {"width": 16})
    model = build(defense, architecture, (channels, 8, 8), 10, seed=0)
    ready(defense, model, (channels, 8, 8), Runtime(Hardware("cpu", "float32")))
    assert needs_of(model) == Needs()
    weights = [weight for weight in model.parameters() if weight.dim() == 4 and min(weight.shape[1:]) > 1]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
