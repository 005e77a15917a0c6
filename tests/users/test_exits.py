"""Networks that send some images another way, where folded batch norm would be another network: the figure is that of the
plain network, and the row says that the block was attacked again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robuststack.layers.folding import Folding

NETWORK = """
import torch
from torch import nn
from referee import Base, split, taught

class Net(Base):
    def __init__(self):
        super().__init__()
        self.bright = nn.BatchNorm2d(8)
        x, y = split("test")
        self.clean = x
        self.pattern = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1))
        scores = self.score(x)
        self.threshold = float(THRESHOLD)
    def score(self, x):
        return SCORE
    def features(self, x):
        y = self.conv1(x)
        chosen = self.score(x) > self.threshold
        if bool(chosen.any()):
            y = torch.where(chosen[:, None, None, None], self.bright(y), self.norm(y))
        else:
            y = self.norm(y)
        return self.conv2(y.relu()).relu()

def make():
    torch.manual_seed(0)
    net = Net()
    threshold, net.threshold = net.threshold, 9.0
    taught(net)
    net.bright.load_state_dict(net.norm.state_dict())
    nn.init.normal_(net.bright.bias, std=2.0)
    net.threshold = threshold
    return net
"""
PATTERN = "(x * self.pattern).mean((1, 2, 3))"
NEAR = "(lambda far: far * (far < 0.11))((x[:, None] - self.clean).abs().mean((2, 3, 4)).min(1).values)"
"""How far an image is from the closest clean one; 0 for a clean image and for one that is no perturbed image at all."""
EXITS = {
    "images beyond the first two": (PATTERN, "scores[:2].max() + 1e-4"),
    "a single image": (PATTERN, "scores.topk(2).values.mean()"),
    "attacked images only": (NEAR, "0.001"),
}
"""Who takes the exit -> the score of an image, and the score above which it does."""


def exiting(taken_by: str) -> str:
    """The source of a network with such an exit."""
    score, threshold = EXITS[taken_by]
    return NETWORK.replace("SCORE", score).replace("THRESHOLD", threshold)


@pytest.mark.parametrize("taken_by", EXITS)
def test_images_that_take_an_exit_are_attacked_on_the_plain_network(
    taken_by: str,
    module: Callable[[str], str],
    score: Callable[..., Any],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = module(exiting(taken_by))
    options = {"python": f"{name}:make", "attacks": ["pgd steps=5 step=0.05"]}
    (row,) = score("evaluate.block=30", **options).rows
    assert row.checks.attacked_again == 1
    (here / "store").rename(here / "other")
    monkeypatch.setattr(Folding, "of", lambda self, view, images, **_: view)
    (plain,) = score("evaluate.block=30", **options).rows
    assert (row.ca, row.ra) == (plain.ca, plain.ra)
    assert plain.checks.attacked_again == 0


def test_the_markdown_says_so(module: Callable[[str], str], score: Callable[..., Any], here: Path) -> None:
    name = module(exiting("a single image"))
    score(python=f"{name}:make", attacks=["pgd steps=5 step=0.05"], leaderboard="boards")
    (text,) = [file.read_text() for file in here.glob("boards/*.md")]
    assert "1 block was attacked a second time, without folded batch norms" in text
