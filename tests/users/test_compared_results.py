"""Results of two calls are compared by what they are, not by what they are called or where their data lies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import robuststack as rs
from referee import EPS, Base, figures, split, taught
from robuststack.errors import LeaderboardError


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., rs.Result]:
    def go(model: object, store: str = "store", data: object = None) -> rs.Result:
        return rs.evaluate(
            model, data=data or split("test"), attacks=["fgsm"], eps=EPS, store=tmp_path / store, device="cpu",
            overrides=["measure.latency=false", "precision=float32"],
        )  # fmt: skip

    return go


def models() -> tuple[nn.Module, nn.Module]:
    """A trained and an untrained network of one class."""
    torch.manual_seed(0)
    return taught(Base()), Base().eval()


def test_two_models_of_one_class_are_two(go: Callable[..., rs.Result], tmp_path: Path) -> None:
    good, bad = models()
    rows = [go(model).rows[0] for model in (good, bad)]
    assert rows[0].label == rows[1].label
    clean = rs.compare(*rows, store=tmp_path / "store").figures[0]
    assert (clean.first, clean.second) == pytest.approx((figures(good)[0], figures(bad)[0]), abs=1e-3)
    assert clean.verdict == "better"


def test_the_same_images_in_two_stores_can_be_compared(go: Callable[..., rs.Result]) -> None:
    results = [go(model, store) for model, store in zip(models(), ("one", "two"), strict=True)]
    labels = results[0].labels | results[1].labels
    assert rs.compare(results[0].rows[0], results[1].rows[0], labels=labels).figures[0].verdict == "better"


def test_other_images_of_two_stores_are_refused(go: Callable[..., rs.Result]) -> None:
    images, labels = split("test")
    good, bad = models()
    first, second = go(good, "one"), go(bad, "two", (images.flip(0), labels.flip(0)))
    with pytest.raises(LeaderboardError, match="judged on other images"):
        rs.compare(first.rows[0], second.rows[0], labels=first.labels | second.labels)
