"""Arrays of a running program, in whatever memory and type they lie: the right figure, or one line before any compute."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import robuststack as rs
from made_data import arrays, flat, levels


class Brightness(torch.nn.Module):
    """Class k for a mean brightness between k / 4 and (k + 1) / 4."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centers = (torch.arange(4) + 0.5) / 4
        return -100 * (x.mean((1, 2, 3))[:, None] - centers).abs()


def mapped(images: np.ndarray) -> np.ndarray:
    """A read-only memory map of a file."""
    np.save("images.npy", images)
    return np.load("images.npy", mmap_mode="r")


def read_only(images: np.ndarray) -> np.ndarray:
    images.setflags(write=False)
    return images


FLOATS = flat(levels(4)[1])
BYTES, LABELS = arrays()
RIGHT: dict[str, Callable[[], tuple[Any, Any]]] = {
    "a read-only memory map": lambda: (mapped(BYTES), LABELS),
    "read-only arrays": lambda: (read_only(BYTES.copy()), read_only(LABELS.copy())),
    "big-endian": lambda: (FLOATS.astype(">f4"), LABELS.astype(">i4")),
    "Fortran order": lambda: (np.asfortranarray(BYTES), LABELS),
    "every second image": lambda: (BYTES[::2], LABELS[::2]),
    "backwards": lambda: (BYTES[::-1], LABELS[::-1]),
    "half precision": lambda: (FLOATS.astype(np.float16), LABELS.astype(np.int8)),
    "bfloat16 tensors": lambda: (torch.tensor(FLOATS).bfloat16(), torch.tensor(LABELS, dtype=torch.uint8)),
    "channels-last tensors": lambda: (torch.tensor(BYTES).to(memory_format=torch.channels_last), LABELS.tolist()),
    "tensors that need gradients": lambda: (torch.tensor(FLOATS).float().requires_grad_(), torch.tensor(LABELS)),
}
REFUSED: dict[str, tuple[Callable[[], tuple[Any, Any]], str]] = {
    "objects": (lambda: (BYTES.astype(object), LABELS), "images or labels are no numbers"),
    "names as labels": (lambda: (BYTES, np.array(list("abcd"))[LABELS]), "names become numbers by np.unique"),
    "one-hot labels": (lambda: (BYTES, np.eye(4)[LABELS]), "one-hot labels become numbers by y.argmax"),
    "complex images": (lambda: (FLOATS.astype(complex), LABELS), "data: images are of type complex128"),
    "fewer labels": (lambda: (BYTES, LABELS[:-1]), "12 images and 11 labels"),
    "labels from 1": (lambda: (BYTES, LABELS + 1), "^data: labels go from 1 to 4; valid: from 0"),
    "channels behind": (
        lambda: (BYTES.transpose(0, 2, 3, 1), LABELS),
        r"^data: .*layout.*; data_options=.* has such options",
    ),
}


def scored(data: Any, model: torch.nn.Module | None = None) -> Any:
    options = {"device": "cpu", "overrides": ["measure.latency=false", "precision=float32"], "store": "store"}
    return rs.evaluate(model or Brightness(), data=data, attacks=["fgsm"], eps=0.001, **options)


def refused(data: Any, message: str) -> None:
    """It is refused in one line that has the message."""
    with pytest.raises(rs.RobustStackError, match=message) as caught:
        scored(data)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", RIGHT)
def test_arrays_are_read_as_meant(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (row,) = scored(RIGHT[kind]()).rows
    assert row.ca.value == 100


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_data_is_one_line(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, message = REFUSED[kind]
    refused(data(), message)


@pytest.mark.parametrize(
    ("images", "told"), [(BYTES // 15, True), ((BYTES // 15).astype(np.int64), True), (BYTES, False)]
)
def test_bytes_of_another_scale_are_told(
    images: np.ndarray, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    note = "the brightest of these values is 14 and white is 255, so images are nearly black; if 14 is white, say white: 14"
    assert [line.partition("': ")[2] for line in scored((images, LABELS)).notes] == ([note] if told else [])
    options = {"device": "cpu", "overrides": ["measure.latency=false"], "data_options": {"white": 14}, "store": "store"}
    if told:
        result = rs.evaluate(Brightness(), data=(images, LABELS), attacks=["fgsm"], eps=0.001, **options)
        assert (result.notes, result.rows[0].ca.value) == ([], 100)


def test_floats_of_another_scale_are_told_even_if_their_white_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        rs.RobustStackError, match="floats up to 14; say which value is white, for example white: 14, or white: 255"
    ):
        scored((16 * FLOATS, LABELS))
    options = {
        "device": "cpu",
        "overrides": ["measure.latency=false"],
        "store": "store",
        "attacks": ["fgsm"],
        "eps": 0.001,
    }
    wrong = rs.evaluate(Brightness(), data=(16 * FLOATS, LABELS), data_options={"white": 255}, **options)
    assert [line.partition("': ")[2] for line in wrong.notes] == [
        "the brightest of these values is 14 and white is 255, so images are nearly black; if 14 is white, say white: 14"
    ]
    right = rs.evaluate(Brightness(), data=(16 * FLOATS, LABELS), data_options={"white": 16}, **options)
    assert (right.notes, right.rows[0].ca.value) == ([], 100)
