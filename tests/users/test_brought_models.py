"""Models as other libraries and habits make them: the figures of a plain float32 loop, or one line before any compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import brought
import brought_habits
import pytest
import torch

import robuststack as rs
from referee import figures


class Logits(torch.nn.Module):
    """A model's logits in float32, for images in the type of its weights."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model
        kinds = {weight.dtype for weight in model.parameters() if weight.is_floating_point()}
        self.kind = kinds.pop() if len(kinds) == 1 else torch.float32

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.model(x.to(self.kind))
        return (out["logits"] if isinstance(out, dict) else out).float()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", brought.MODELS)
def test_figures_are_those_of_a_plain_loop(name: str, score: Callable[..., Any]) -> None:
    (row,) = score(python=f"brought:{name}").rows
    expected = figures(Logits(brought.MODELS[name]()))
    assert (row.ca.value, row.ra["FGSM"].value) == pytest.approx(expected, abs=1e-3)


def test_members_in_a_list_count_as_parameters(score: Callable[..., Any]) -> None:
    (row,) = score(python="brought:plain_list").rows
    assert row.parameters == 2 * sum(weight.numel() for weight in brought.base().parameters())


REFUSED = {
    f"{table.__name__}:{name}": message
    for table in (brought, brought_habits)
    for name, (_, message) in table.REFUSED.items()
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_could_not_be_scored_is_one_line(name: str, score: Callable[..., Any], here: Path) -> None:
    with pytest.raises(rs.RobustStackError) as caught:
        score(python=name)
    assert REFUSED[name] in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not list(here.glob("store/*/*/result.json"))
