"""Models that read the brightness of an image, in a module of the user's."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

MODELS = """
import torch
from torch import nn

class Brightness(nn.Module):
    '''Class k for a mean brightness between k / classes and (k + 1) / classes.'''
    def __init__(self, classes):
        super().__init__()
        self.register_buffer("centers", (torch.arange(classes) + 0.5) / classes)
    def forward(self, x):
        return -100 * (x.mean((1, 2, 3))[:, None] - self.centers).abs()

class Always(nn.Module):
    '''Class 0, whatever it sees.'''
    def forward(self, x):
        nothing = 0 * x.sum((1, 2, 3))
        return torch.stack([nothing + 9, nothing, nothing], 1)

class Upright(nn.Module):
    '''Class 0 if the upper half is brighter, else 1.'''
    def forward(self, x):
        half = x.shape[2] // 2
        return 9 * torch.stack([x[:, :, :half].mean((1, 2, 3)), x[:, :, half:].mean((1, 2, 3))], 1)

def two(): return Brightness(2)
def three(): return Brightness(3)
def four(): return Brightness(4)
def seven(): return Brightness(7)
def ten(): return Brightness(10)
def twelve(): return Brightness(12)
def always(): return Always()
def upright(): return Upright()
"""


@pytest.fixture(scope="module", autouse=True)
def _models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("models")
    (folder / "users_models.py").write_text(MODELS)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
