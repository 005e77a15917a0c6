"""Models with habits of their own: the figures of a plain float32 loop, or one line with the place that fails; and this process
as it was. `test_brought_models.py` has those that are refused before any compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import brought_habits
import pytest
import torch
from sources import PLAIN, forward

from referee import figures
from robuststack.engine.torch_settings import TorchSettings, settings_kept


class Called(torch.nn.Module):
    """A model or function as a module, whose calls leave no settings behind."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with settings_kept():
            return self.function(x).float()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", brought_habits.MODELS)
def test_figures_are_those_of_a_plain_loop_and_settings_stay(name: str, score: Callable[..., Any]) -> None:
    before = TorchSettings.now()
    (row,) = score(python=f"brought_habits:{name}").rows
    assert TorchSettings.now() == before
    expected = figures(Called(brought_habits.MODELS[name]()))
    assert (row.ca.value, row.ra["FGSM"].value) == pytest.approx(expected, abs=1e-3)


def test_a_name_that_is_a_model_itself_is_scored(score: Callable[..., Any]) -> None:
    (row,) = score(python="brought_habits:instance").rows
    assert (row.ca.value, row.ra["FGSM"].value) == pytest.approx(figures(brought_habits.instance), abs=1e-3)
    assert "forward" not in vars(brought_habits.instance), "a copy is fitted"


def test_gradients_that_a_model_switches_off_are_on_again(
    score: Callable[..., Any], module: Callable[[str], str]
) -> None:
    """The plain loop fails on it: its loss would have no gradient."""
    name = module("from brought_habits import SetAfterwards")
    (row,) = score(python=f"{name}:SetAfterwards").rows
    assert (row.ca.value, row.ra["FGSM"].value) == pytest.approx(figures(brought_habits.base()), abs=1e-3)


FAILING = {
    "an error": ("raise ValueError('too\\nmany')", "fails: ValueError: too many ("),
    "an exit": ("import sys; sys.exit(1)", "fails: RuntimeError: it calls sys.exit(1) ("),
    "a library's error": ("torch.zeros(2) @ torch.zeros(3)", "fails: RuntimeError: "),
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_model_that_fails_in_the_middle_of_a_job_is_one_line_with_its_place(
    kind: str, score: Callable[..., Any], module: Callable[[str], str]
) -> None:
    statement, message = FAILING[kind]
    name = module(forward(f"if len(x) > 20 and not self.training:\n            {statement}\n        {PLAIN}"))
    result = score(python=f"{name}:make")
    assert not result.rows
    for reason in result.failed.values():
        assert reason.startswith(f"'{name}:make' {message}")
        assert len(reason.splitlines()) == 1
        if kind != "an exit":
            assert reason.endswith(f"({name}.py, line 15)")


def test_an_error_of_the_backward_pass_has_its_place_too(
    score: Callable[..., Any], module: Callable[[str], str]
) -> None:
    backward = """
class Fails(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.clone()
    @staticmethod
    def backward(context, gradient):
        if len(gradient) > 20:
            raise ValueError("too many")
        return gradient
"""
    name = module(forward(f"x = x if self.training else Fails.apply(x)\n        {PLAIN}", more=backward))
    result = score(python=f"{name}:make")
    (reason,) = result.failed.values()
    assert reason == f"'{name}:make' fails: ValueError: too many ({name}.py, line 24)"


def test_an_error_that_is_not_the_models_keeps_its_traceback(
    score: Callable[..., Any], module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("ours")

    monkeypatch.setattr("robuststack.engine.blocks.judge_block", fail)
    name = module(forward(PLAIN))
    with pytest.raises(ValueError, match="ours"):
        score(python=f"{name}:make")
