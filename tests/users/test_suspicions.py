"""What makes a figure doubtful is said wherever the figure is printed: the terminal, `leaderboard show`, Python, files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import robuststack as rs
from referee import DATASET
from robuststack.cli import call

ROUNDED = """
from referee import Base
class Net(Base):
    def forward(self, x):
        return super().forward((x * LEVELS).round() / LEVELS)
"""
NEAREST = """
import torch
from torch import nn
from robuststack.plugin.registry import Registry
from robuststack.suite.single_model import component_of
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        part = component_of("--dataset", DATASET)
        data = Registry().create("dataset", part["name"], part["options"]).load(None)["test"]
        images, labels = torch.from_numpy(data.images).float(), torch.from_numpy(data.labels)
        images = images / 255 if data.images.dtype == "uint8" else images
        means = torch.stack([images[labels == label].mean(0) for label in labels.unique()])
        self.means = nn.Parameter(means)
    def forward(self, x):
        return -((x[:, None] - self.means) ** 2).sum((2, 3, 4))
""".replace("DATASET", repr(DATASET))
"""The class whose mean image is nearest: far better than chance, with gradients everywhere."""
DOUBT = "100 % of gradients are zero"


@pytest.fixture
def arguments(module: Callable[[str], str]) -> Callable[[float], list[str]]:
    """The arguments of `evaluate` for a network that rounds its input, so that it has no gradients."""

    def make(levels: float) -> list[str]:
        name = module(ROUNDED.replace("LEVELS", str(levels)))
        return ["--python", f"{name}:Net", "--dataset", DATASET, "--attack", "fgsm", "--eps", "0.1", "--device", "cpu",
                "--set", "measure.latency=false", "--leaderboard", "boards"]  # fmt: skip

    return make


def test_zero_gradients_are_said_where_figures_are(
    arguments: Callable[[float], list[str]], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(16.0)
    assert call(["evaluate", *words]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith("Suspicious: tradeoff/") and DOUBT in line]
    assert call(["evaluate", *words, "--json"]) == 0
    printed, beside = capsys.readouterr()
    assert json.loads(printed)[0]["checks"]["gradients_zero"] == 100
    assert any(line.startswith("robuststack: suspicious: ") and DOUBT in line for line in beside.splitlines())

    (file,) = here.glob("boards/*.json")
    written = file.with_suffix(".md").read_text().splitlines()
    assert [line for line in written if line.startswith("- **Suspicious:** tradeoff/") and DOUBT in line]
    for style, before in {"text": "Suspicious: ", "markdown": "**Suspicious:** ", "latex": "% Suspicious: "}.items():
        assert call(["leaderboard", "show", str(file), "--format", style]) == 0
        assert [line for line in capsys.readouterr().out.splitlines() if line.startswith(before) and DOUBT in line]
    for style in ("csv", "json"):
        assert call(["leaderboard", "show", str(file), "--format", style]) == 0
        printed, beside = capsys.readouterr()
        assert DOUBT not in printed
        assert DOUBT in beside


def test_a_sound_row_raises_no_suspicion(module: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    name = module(NEAREST)
    result = rs.evaluate(dataset=DATASET, python=f"{name}:Net", attacks=["fgsm"], overrides=["measure.latency=false"])
    assert result.suspicions == []
    assert "Suspicious" not in result.table()
    assert "suspicious" not in repr(result)
    assert result.plot().get_supxlabel() == ""


def test_python_has_the_lines_too(module: Callable[[str], str]) -> None:
    name = module(ROUNDED.replace("LEVELS", "16"))
    result = rs.evaluate(dataset=DATASET, python=f"{name}:Net", attacks=["fgsm"], overrides=["measure.latency=false"])
    (line,) = result.suspicions
    assert DOUBT in line
    assert result.table().endswith(f"\n\nSuspicious: {line}")
    assert f"  suspicious: {line}" in repr(result).splitlines()
    assert f"<p>Suspicious: {line}</p>" in result._repr_html_()
    assert f"Suspicious: {line}".split() == result.plot().get_supxlabel().split()
