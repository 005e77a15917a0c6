"""Other forms of what `robuststack.evaluate(model, ...)` takes: attacks, points, labels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import robuststack as rs
from robuststack.errors import RobustStackError

QUICK: dict[str, Any] = {"overrides": ["measure.latency=false"], "device": "cpu"}
IMAGES = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 3


class Brightness(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x.mean((1, 2, 3)) * place for place in range(self.classes)], 1)


class Scaled:
    def at(self, scale: float) -> Callable[[Tensor], Tensor]:
        return lambda x: Brightness()(x) * scale


@pytest.fixture
def score(tmp_path: Path) -> Callable[..., rs.Result]:
    def score(model: object, **more: Any) -> rs.Result:
        given = {
            "data": (IMAGES, LABELS),
            "attacks": ["fgsm"],
            "eps": 0.1,
            "store": tmp_path / "store",
            **QUICK,
            **more,
        }
        return rs.evaluate(model, **given)

    return score


@pytest.mark.parametrize(
    ("attacks", "labels"),
    [
        ("pgd steps=3", ["PGD-3"]),
        ({"name": "pgd", "options": {"steps": 3}}, ["PGD-3"]),
        ([{"name": "pgd", "options": {"steps": 3}}, "fgsm"], ["PGD-3", "FGSM"]),
        (iter(["fgsm"]), ["FGSM"]),
        ([{"name": "pgd", "sweep": {"steps": [1, 2]}, "label": "mine"}], ["mine steps=1", "mine steps=2"]),
    ],
)
def test_an_attack_is_a_text_or_a_mapping_alone_or_in_a_list(score: Any, attacks: Any, labels: list[str]) -> None:
    assert list(score(Brightness(), attacks=attacks).rows[0].ra) == [*labels, "worst"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attacks": None}, r"attacks: None: no attack; valid: 'pgd', 'pgd steps=50', \{'name': "),
        ({"attacks": [None]}, "attacks: None: no attack; valid: "),
        ({"attacks": [1]}, "attacks: 1: no attack; valid: "),
        ({"attacks": ["PGD"]}, r"unknown attack 'PGD': did you mean 'pgd'\?"),
        ({"attacks": [{"name": "pgd", "options": {"step": "x"}}]}, "attacks: .*step"),
        ({"attacks": [{"nam": "pgd"}]}, "attacks: .*nam"),
        ({"attacks": []}, "attacks: .*at least 1 item"),
        ({"points": {"scale": []}}, "points: scale has no value"),
        ({"points": 3}, "points: those of a model in Python are mappings"),
        ({"points": "scale=1"}, "points: those of a model in Python are mappings"),
        ({"points": {"scale": np.ones((2, 2))}}, r"points: scale is \[1.0, 1.0\]; valid: finite numbers"),
        ({"points": {"scale": [1.0, float("nan")]}}, "points: scale is nan; valid: finite numbers"),
        ({"points": {"scale": float("inf")}}, "points: scale is inf; valid: finite numbers"),
        ({"name": "a" * 300}, r"name: .*'a{20}'\.\.\. has 300 bytes; valid: at most 180"),
        ({"store": "a" * 300}, r"'a{20}'\.\.\. is no file or folder: no name has more than 255 bytes"),
        ({"stochastic": "no"}, "stochastic='no': must be True or False"),
        ({"name": 5}, "name=5: must be text"),
        ({"store": None}, "evaluate: store=None: must be a path"),
        ({"data_options": 3}, "data_options=3: must be a mapping"),
        ({"device": None}, "device=None: valid: 'auto', 'cpu', 'cuda', 'cuda:0' or a torch.device"),
        ({"device": 9999}, "--device cuda:9999: "),
        ({"limit": np.float64(3)}, "limit=.*: evaluate.limit: must be a valid integer"),
        ({"data": (IMAGES[:0], LABELS[:0])}, "data: there is no image in it; valid: "),
        ({"data": (IMAGES, LABELS + 0.5)}, "numbers that are not whole"),
        ({"data": (IMAGES, torch.full((40,), torch.nan))}, "numbers that are no labels"),
    ],
)
def test_what_is_of_no_such_form_is_one_line(score: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RobustStackError, match=message) as caught:
        score(Scaled() if "points" in change else Brightness(), **change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("attacks", ["fgsm", {"name": "fgsm"}])
def test_a_model_from_elsewhere_takes_the_same_attacks(attacks: Any, tmp_path: Path) -> None:
    with pytest.raises(RobustStackError, match="unknown dataset 'digit'"):
        rs.evaluate(python="m:make", dataset="digit", attacks=attacks, store=tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"python": Brightness, "dataset": "digits"}, "evaluate: python=<type>: must be text"),
        ({"load": "w.pt", "architecture": Brightness, "dataset": "digits"}, "architecture=<type>: must be text"),
        ({"python": "m:f", "dataset": Path("x.npz")}, "dataset=<.*Path>: must be text"),
        ({"load": 3, "architecture": "resnet8", "dataset": "digits"}, "load=3: must be a path"),
    ],
)
def test_what_names_a_model_from_elsewhere_is_text(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RobustStackError, match=message):
        rs.evaluate(**given)


def test_a_defense_of_a_model_that_is_given_itself_is_refused() -> None:
    with pytest.raises(RobustStackError, match="defense= is for a model that is not given itself"):
        rs.evaluate(Brightness(), data=(IMAGES, LABELS), defense="float")


def test_a_model_that_is_none_is_told() -> None:
    with pytest.raises(RobustStackError, match="data= is for a model that is given itself, and the model is None"):
        rs.evaluate(None, data=(IMAGES, LABELS))


@pytest.mark.parametrize(
    "values",
    [np.linspace(1, 2, 2), torch.tensor([1.0, 2.0]), range(1, 3), list(np.array([1, 2])), [torch.tensor(1), 2]],
    ids=str,
)
def test_points_may_be_any_numbers(score: Any, values: Any) -> None:
    rows = score(Scaled(), points={"scale": values}).rows
    assert [row.point for row in rows] == [{"scale": 1}, {"scale": 2}]
    assert score(Scaled(), points={"scale": np.float32(1)}).rows[0].point == {"scale": 1}


@pytest.mark.parametrize("knob", ["_a", "model_config", "copy", "model_fields", "self_"])
def test_a_knob_may_have_any_name(score: Any, knob: str) -> None:
    class Tunable:
        def at(self, **point: float) -> Callable[[Tensor], Tensor]:
            return lambda x: Brightness()(x) * point[knob]

    assert [row.point for row in score(Tunable(), points={knob: [1, 2]}).rows] == [{knob: 1}, {knob: 2}]


def test_a_name_of_several_lines_is_one_line(score: Any) -> None:
    assert [row.defense for row in score(Brightness(), name="mine\n| of  today").rows] == ["mine | of today"]
    assert [row.defense for row in score(Brightness(), name=" \n").rows] == ["Brightness"]


def test_a_device_and_a_number_may_be_those_of_torch_and_numpy(score: Any) -> None:
    result = score(Brightness(), device=torch.device("cpu"), limit=np.int64(7), overrides=None)
    assert (result.rows[0].n, result.plan.hardware.device) == (7, "cpu")


def test_a_single_override_needs_no_list(score: Any) -> None:
    assert score(Brightness(), overrides="evaluate.limit=7").rows[0].n == 7


@pytest.mark.parametrize(
    "labels",
    [LABELS.float(), LABELS.half(), LABELS.numpy().astype("object"), LABELS.bool(), LABELS.numpy().astype("float16")],
    ids=["float32", "float16 tensor", "object", "bool", "float16"],
)
def test_labels_of_any_type_of_numbers_leave_the_classes_to_the_model(score: Any, labels: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        row = score(Brightness(classes=5), data=(IMAGES, labels)).rows[0]
    expected = score(Brightness(classes=5), data=(IMAGES, np.asarray(labels).astype(int))).rows[0]
    assert (row.n, row.ca.value) == (40, expected.ca.value)


def test_one_image_is_scored_without_a_warning(score: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert score(Brightness(), data=(IMAGES[:1], LABELS[:1])).rows[0].n == 1


def test_a_file_of_arrays_is_told_from_a_dataset(score: Any) -> None:
    with pytest.raises(
        RobustStackError, match=r"data='mine.npz' is a file; give np.load\('mine.npz'\), or 'npz path=mine.npz'"
    ):
        score(Brightness(), data="mine.npz")
