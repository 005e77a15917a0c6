"""The source of small networks that users' cases change, and what a run leaves in its store."""

from __future__ import annotations

from pathlib import Path

HEAD = """
import random
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from referee import Base, taught
"""
PLAIN = "return self.fc(self.features(x).flatten(1))"


def forward(body: str, init: str = "pass", more: str = "") -> str:
    """The source of a network that changes the forward pass, or more, of the small one."""
    return f"""{HEAD}
class Net(Base):
    def __init__(self):
        super().__init__()
        {init}
    def forward(self, x):
        {body}
{more}
def make():
    torch.manual_seed(0)
    return taught(Net())
"""


def stored(here: Path) -> dict[str, int]:
    """Each job that is done, and when its result was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in here.glob("store/*/*/result.json")}
