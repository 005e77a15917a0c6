"""A defense of two settings and a data set of two pixels, in which the value of hiding the knob is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack import hookimpl
from robuststack.hardware import Hardware
from robuststack.layers.condition import Condition, attach
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import PluginSource, Registry, installed_sources
from robuststack.suite.loading import load_suite

EPS = 0.2
"""Enough to turn one pixel of an image dark, and both of them."""


class TwoPixels(nn.Module):
    """Class 0 if a pixel is bright: the first one at `branch` 0, the second one at 1. `noise` disturbs the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([10.0, -10.0]))
        attach(self, Condition("branch", "noise"))

    def forward(self, x: Tensor) -> Tensor:
        branch, noise = self.condition.read("branch") or 0, self.condition.read("noise") or 0.0
        logits = (x.flatten(1)[:, branch, None] - 0.5) * self.scale
        return logits + noise * torch.randn_like(logits) if noise else logits


class Knobbed(rs.Defense):
    """The readout of one of two pixels, as the knob says, with or without noise."""

    trains = False

    class Options(rs.Options):
        noise: float = rs.option(0.0, "Noise on the logits.")

    class Knobs(rs.Options):
        pixel: int = rs.option(0, "Which pixel is read; 2 is the same setting as 0.", ge=0, le=2)

    def operating_points(self) -> list[rs.Point]:
        return [{"pixel": 0}, {"pixel": 1}]

    def load(self, folder: Path, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return TwoPixels()

    def setting(self, point: rs.Point) -> rs.Setting:
        noise = self.options.noise
        return rs.Setting({"branch": point["pixel"] % 2, "noise": noise}, stochastic=noise > 0)


class Bright(rs.Dataset):
    """Images whose two pixels are both a little bright: class 0; the test split has 24."""

    shape = (1, 1, 2)
    num_classes = 2
    fingerprint = "bright"

    def size(self, split: rs.Split) -> int:
        return 24 if split == "test" else 0

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        pixels = 0.55 + 0.1 * np.random.RandomState(0).rand(24, 1, 1, 2)
        return {"test": rs.Images(pixels.astype(np.float32), np.zeros(24, dtype=np.int64))}


def knobbed_registry() -> Registry:
    """The installed plugins, the defense `knobbed` and the data set `bright`."""

    def register_defense(register: Any) -> None:
        register("knobbed", f"{__name__}:Knobbed")

    def register_dataset(register: Any) -> None:
        register("bright", f"{__name__}:Bright")

    plugin = type("Plugin", (), {
        "register_defense": staticmethod(hookimpl(register_defense)),
        "register_dataset": staticmethod(hookimpl(register_dataset)),
    })  # fmt: skip
    return Registry([*installed_sources(), PluginSource("knobbed", "knobbed", "1.0", lambda: plugin)])


@dataclass(frozen=True)
class KnobbedSuite:
    """A suite of this module's components, in whichever folder: its store is `store` there, its leaderboard in `board`."""

    name: str
    text: str

    def run(self, folder: Path, *overrides: str) -> rs.Result:
        return rs.run(
            self._file(folder), store=folder / "store", leaderboard=folder / "board", device="cpu", overrides=overrides,
            registry=knobbed_registry(),
        )  # fmt: skip

    def plan(self, folder: Path, *overrides: str) -> Plan:
        return make_plan(load_suite(self._file(folder), overrides), knobbed_registry(), Hardware("cpu", "float32"))

    def _file(self, folder: Path) -> Path:
        path = folder / f"{self.name}.yaml"
        path.write_text(self.text)
        return path
