"""Weights that `robuststack export` wrote, scored by `robuststack evaluate`: the file says what it is of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from robuststack.cli import call
from robuststack.suite.exported import exported
from trained import Trained


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def export(trained: Trained, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Write a trained model to `w.safetensors`."""

    def write(defense: str, *more: str) -> None:
        job = trained.job(defense)
        assert call(["export", job, *more, "-o", "w.safetensors", "--store", str(trained.store)]) == 0
        capsys.readouterr()

    return write


SCORED = ["--dataset", "tradeoff images=60 test_images=30 size=8 classes=4", "--attack", "fgsm draws=2", "--eps", "0.1",
          "--draws", "2", "--set", "measure.latency=false"]  # fmt: skip


def scored(*arguments: str) -> int:
    return call(["evaluate", "--load", "w.safetensors", *SCORED, *arguments])


def test_an_exported_file_names_its_own_defense_and_network(export, capsys):
    export("oat")
    assert scored("--point", "lambda=1", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["label"] == "tradeoff/resnet8/oat lambda=1"
    assert row["shown"] == {"dim": 4, "model": "w.safetensors"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--defense", "oat dim=8"], "'oat dim=4', not of 'oat dim=8'"),
        (["--defense", "float"], "'oat', not of 'float'"),
    ],
)
def test_an_exported_file_is_not_scored_as_what_it_is_not(export, capsys, arguments, message):
    export("oat")
    assert scored("--architecture", "resnet8 width=8", *arguments) == 2
    assert f"--load w.safetensors: w.safetensors says that its model is one of {message}" in capsys.readouterr().err


def test_a_draw_of_the_noise_in_the_weights_is_not_scored_under_noise(export, capsys):
    export("float", "--point", "lambda_n=1", "--frozen")
    assert scored() == 2
    assert (
        "w.safetensors holds one draw of the model's noise, and 'float' would draw noise on top"
        in capsys.readouterr().err
    )


def test_weights_of_a_point_without_noise_are_the_same_frozen(export):
    export("none", "--frozen")
    assert scored() == 0


@pytest.mark.parametrize(
    "facts", [{}, {"robuststack": "0.1.0"},
              {"robuststack": "0.1.0", "defense": "{", "architecture": "{}", "frozen": "null"},
              {"robuststack": "0.1.0", "defense": "[]", "architecture": "3", "frozen": "null"}],
    ids=["none", "few", "no JSON", "of another form"],
)  # fmt: skip
def test_a_file_that_says_too_little_of_itself_is_a_file_of_weights(here, facts, capsys):
    safetensors.torch.save_file({"a": torch.zeros(1)}, "w.safetensors", facts)
    assert exported(here / "w.safetensors") is None
    (here / "w.safetensors").write_bytes(b"\xff" * 20)
    assert exported(here / "w.safetensors") is None
    assert exported(here / "absent.safetensors") is None
    assert scored() == 2
    assert (
        "--load w.safetensors: name the network that the weights are of with --architecture" in capsys.readouterr().err
    )
