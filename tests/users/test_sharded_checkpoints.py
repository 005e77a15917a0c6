"""Checkpoints in several files, beside an index that says which tensor is in which, as large models are published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import robuststack as rs
from referee import figures, taught
from robuststack.plugin.registry import Registry

ARCHITECTURE = "resnet8 width=4"
INDEX = "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return taught(Registry().create("architecture", "resnet8", {"width": 4}).build((3, 8, 8), 4))


@pytest.fixture
def parts(net: nn.Module, here: Path) -> dict[str, dict[str, Tensor]]:
    """The weights in two files and their index: file -> what it holds."""
    items = list(net.state_dict().items())
    held = {FIRST: dict(items[:9]), SECOND: dict(items[9:])}
    for name, state in held.items():
        safetensors.torch.save_file(state, here / name)
    indexed(here / INDEX, held)
    return held


def indexed(path: Path, parts: dict[str, dict[str, Tensor]]) -> None:
    named = {key: name for name, state in parts.items() for key in state}
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": named}, indent=2))


@pytest.mark.usefixtures("parts")
def test_the_parts_of_an_index_are_one_model(net: nn.Module, score: Callable[..., Any]) -> None:
    (row,) = score(load=INDEX, architecture=ARCHITECTURE).rows
    assert (row.ca.value, row.ra["FGSM"].value) == pytest.approx(figures(net), abs=1e-3)


def test_parts_of_pytorch_too(net: nn.Module, score: Callable[..., Any], here: Path) -> None:
    items = list(net.state_dict().items())
    held = {"pytorch_model-1.bin": dict(items[::2]), "pytorch_model-2.bin": dict(items[1::2])}
    for name, state in held.items():
        torch.save(state, here / name)
    indexed(here / "pytorch_model.bin.index.json", held)
    (row,) = score(load="pytorch_model.bin.index.json", architecture=ARCHITECTURE).rows
    assert row.ca.value == pytest.approx(figures(net)[0], abs=1e-3)


def test_a_part_that_changes_makes_another_model(
    parts: dict[str, dict[str, Tensor]], score: Callable[..., Any], here: Path
) -> None:
    before, again = (score(load=INDEX, architecture=ARCHITECTURE).rows[0].jobs for _ in range(2))
    assert before == again
    safetensors.torch.save_file({key: value + 1 for key, value in parts[SECOND].items()}, here / SECOND)
    after = score(load=INDEX, architecture=ARCHITECTURE).rows[0].jobs
    assert after != before


def missing(parts: dict[str, dict[str, Tensor]], here: Path) -> None:
    (here / SECOND).unlink()


def renamed(parts: dict[str, dict[str, Tensor]], here: Path) -> None:
    safetensors.torch.save_file({f"old.{key}": value for key, value in parts[SECOND].items()}, here / SECOND)


def more(parts: dict[str, dict[str, Tensor]], here: Path) -> None:
    safetensors.torch.save_file({**parts[SECOND], "extra": torch.zeros(1)}, here / SECOND)


def wrong_key(parts: dict[str, dict[str, Tensor]], here: Path) -> None:
    held = {**parts, SECOND: {**parts[SECOND], "head.wrong": torch.zeros(1)}}
    safetensors.torch.save_file(held[SECOND], here / SECOND)
    indexed(here / INDEX, held)


def elsewhere(parts: dict[str, dict[str, Tensor]], here: Path) -> None:
    indexed(here / INDEX, {FIRST: parts[FIRST], f"../{SECOND}": parts[SECOND]})


def cut_off(parts: dict[str, dict[str, Tensor]], here: Path) -> None:
    (here / SECOND).write_bytes((here / SECOND).read_bytes()[:5000])


REFUSED: dict[Callable[..., None], str] = {
    missing: f"{INDEX}: its part {SECOND} cannot be read: No such file or directory",
    renamed: f"{INDEX} is the index of other files: {SECOND} lacks ",
    more: f"{INDEX} is the index of other files: {SECOND} holds extra too",
    wrong_key: f"{INDEX} does not fit resnet8 under none with 4 classes: keys are unknown to it: head.wrong",
    elsewhere: f"{INDEX} names the part '../{SECOND}'; parts lie in the folder of their index",
    cut_off: f"{SECOND} is not a readable checkpoint (.safetensors, or a PyTorch state dict): ",
}


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda function: function.__name__)
def test_what_does_not_belong_together_is_one_line(
    spoil: Callable[..., None], parts: dict[str, dict[str, Tensor]], score: Callable[..., Any], here: Path
) -> None:
    spoil(parts, here)
    with pytest.raises(rs.RobustStackError) as caught:
        score(load=INDEX, architecture=ARCHITECTURE)
    assert REFUSED[spoil] in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.usefixtures("parts")
def test_a_part_alone_names_its_index(score: Callable[..., Any]) -> None:
    with pytest.raises(rs.RobustStackError, match=rf"a part of several is loaded by its index, {INDEX}$"):
        score(load=FIRST, architecture=ARCHITECTURE)
