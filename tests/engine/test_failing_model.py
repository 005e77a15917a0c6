"""Which line of a user's model is named if it fails."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch

from robuststack.engine.failing_model import place_in_model
from robuststack.engine.fitted import FittedForward, Needs

STANDARD, PACKAGES = Path(sysconfig.get_path("stdlib")), Path(torch.__file__).parents[1]


def failing(*files: Path) -> BaseException:
    """The error of a model whose forward pass goes through functions in these files, each called by the one before."""
    inner: Any = None
    for file in reversed(files):
        names: dict[str, Any] = {"inner": inner}
        body = "return inner(x)" if inner else "raise ValueError"
        exec(compile(f"def forward(x):\n    {body}", str(file), "exec"), names)
        inner = names["forward"]
    with pytest.raises(ValueError) as caught:
        FittedForward(inner, Needs())(torch.zeros(1))
    return caught.value


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ([Path("mine.py"), PACKAGES / "torch/nn/layer.py", STANDARD / "contextlib.py"], "mine.py, line 2"),
        ([Path("mine.py"), PACKAGES / "torchvision/network.py"], "network.py, line 2"),
        ([STANDARD / "site-packages/zoo/network.py", PACKAGES / "torch/nn/layer.py"], "network.py, line 2"),
        ([PACKAGES / "torch/nn/layer.py"], "layer.py, line 2"),
    ],
)
def test_the_innermost_line_that_no_library_holds_is_named(files, place):
    assert place_in_model(failing(*files)) == place


@pytest.mark.parametrize("whole", [True, False])
def test_the_line_of_a_hook_of_gradients_is_named(whole):
    names: dict[str, Any] = {}
    exec(compile("def hook(*gradients):\n    raise ValueError", "mine.py", "exec"), names)
    layer = torch.nn.Linear(2, 2)
    if whole:
        layer.register_full_backward_hook(names["hook"])
    x = torch.rand(1, 2, requires_grad=True)
    y = layer(x)
    if not whole:
        y.register_hook(names["hook"])
    with pytest.raises(ValueError) as caught:
        torch.autograd.grad(y.sum(), x)
    assert place_in_model(caught.value) == "mine.py, line 2"


def test_code_of_others_has_no_place_in_the_model():
    with pytest.raises(ValueError) as caught:
        int("ours")
    assert place_in_model(caught.value) is None
