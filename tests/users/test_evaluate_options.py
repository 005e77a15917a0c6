"""What `evaluate` is told of a model's threat and noise reaches the row, from Python and from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sources import PLAIN, forward

import robuststack as rs
from referee import DATASET
from robuststack.cli import call

NOISY = forward(f"x = x + 0.3 * torch.randn_like(x)\n        {PLAIN}")
QUICK = ["--set", "measure.latency=false", "--set", "precision=float32", "--device", "cpu", "--json"]


def test_the_norm_is_heeded(module: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    name = f"{module('from referee import Base as Net')}:Net"
    words = ["--python", name, "--dataset", DATASET, "--attack", "fgsm", "--norm", "l2"]
    assert call(["evaluate", *words, "--eps", "0.5", *QUICK]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["threat"] == {"norm": "l2", "eps": 0.5}
    result = rs.evaluate(python=name, dataset=DATASET, attacks=["fgsm"], norm="l2", eps=0.5, device="cpu",
                         overrides=["measure.latency=false", "precision=float32"])  # fmt: skip
    assert result.rows[0].worst.value == row["ra"]["worst"]["value"]
    assert call(["evaluate", *words, *QUICK]) == 2
    assert "norm l2 needs an eps" in capsys.readouterr().err
    assert call(["evaluate", *words[:-1], "l3", *QUICK]) == 2
    assert "--norm l3" in capsys.readouterr().err


def test_noise_is_declared_by_a_flag(module: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--python",
        f"{module(NOISY)}:make",
        "--dataset",
        DATASET,
        "--attack",
        "fgsm",
        "--eps",
        "0.1",
        "--draws",
        "3",
    ]
    assert call(["evaluate", *words, *QUICK]) == 2
    assert "evaluate: --stochastic" in capsys.readouterr().err
    assert call(["evaluate", *words, "--stochastic", *QUICK]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["stochastic"], row["draws"]) == (True, 3)


PLACES = {
    ("--dataset", "mine.npz"): '--dataset mine.npz: that is a place; write --dataset "npz path=mine.npz"',
    ("--dataset", "./mine"): '--dataset ./mine: that is a place; write --dataset "folder path=./mine"',
    ("--python", "mymodels.py:make"): "among the installed packages; write mymodels, without .py",
    ("--python", "./models/mine.py:make"): "names no function; write models.mine:make",
}


@pytest.mark.parametrize(("flag", "value"), PLACES)
def test_a_file_in_place_of_a_name_is_told_the_name(
    flag: str, value: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mine").mkdir()
    words = {"--dataset": "digits", "--python": "referee:Base", flag: value}
    assert call(["evaluate", *(word for pair in words.items() for word in pair)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("robuststack: error: ")
    assert PLACES[flag, value] in line


@pytest.mark.parametrize("option", [{"data": "digits"}, {"data_options": {"layout": "nhwc"}}, {"name": "mine"}])
def test_an_option_that_would_be_ignored_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(
        rs.RobustStackError, match=f"evaluate: {next(iter(option))}= is for a model that is given itself"
    ):
        rs.evaluate(python="referee:Base", dataset=DATASET, **option)
