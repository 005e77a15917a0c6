"""Images of a running program that come one by one or in batches, from whatever gives them, and tensors and pictures of
every kind: the right figure, or one line before any compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_live_arrays import BYTES, FLOATS, LABELS, Brightness, refused, scored
from torch.utils.data import DataLoader, Dataset

import robuststack as rs

IMAGES = torch.tensor(FLOATS).float()


class Pairs(Dataset[tuple[torch.Tensor, int]]):
    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return IMAGES[index], int(LABELS[index])


class Wrapped:
    """A loader as other libraries wrap them: it can be iterated, and no more is known of it."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)

    def __len__(self) -> int:
        return len(self.loader)


def batches(size: int, labels: Callable[[np.ndarray], Any] = torch.tensor) -> Iterator[tuple[Any, Any]]:
    """All images in batches; the last may be smaller."""
    for start in range(0, len(LABELS), size):
        yield IMAGES[start : start + size], labels(LABELS[start : start + size])


def archive(**arrays: np.ndarray) -> Any:
    np.savez("mine.npz", **arrays)
    return np.load("mine.npz")


def pictures(mode: str) -> list[tuple[Image.Image, int]]:
    """Pictures of Pillow in another mode."""
    rgb = [Image.fromarray(image.transpose(1, 2, 0)) for image in BYTES]
    return [(picture.convert(mode), int(label)) for picture, label in zip(rgb, LABELS, strict=True)]


RIGHT: dict[str, Callable[[], Any]] = {
    "a dataset": Pairs,
    "a loader": lambda: DataLoader(Pairs(), 5),
    "a loader of single images": lambda: DataLoader(Pairs(), batch_size=None),
    "a loader of images without channels": lambda: DataLoader([(image[0], label) for image, label in Pairs()], 5),
    "a wrapped loader": lambda: Wrapped(DataLoader(Pairs(), 5)),
    "a generator of batches": lambda: batches(5),
    "a generator of batches of one": lambda: batches(1),
    "a list of batches": lambda: list(batches(5)),
    "a list of two batches": lambda: list(batches(6)),
    "a tuple of two batches": lambda: tuple(batches(6)),
    "a list of one batch": lambda: list(batches(12)),
    "a list of two images": lambda: [Pairs()[0], Pairs()[11]],
    "batches whose labels are lists": lambda: batches(5, np.ndarray.tolist),
    "lists of pictures and of tensors": lambda: ([image for image, _ in pictures("P")], [torch.tensor(y) for y in LABELS]),
    "a list of tensors that NumPy lacks": lambda: (list(IMAGES.bfloat16()), LABELS),
    "a mapping": lambda: {"x": IMAGES, "y": LABELS},
    "an archive of NumPy": lambda: archive(x_test=IMAGES.numpy(), y_test=LABELS, x_train=IMAGES[:2].numpy()),
    "items that name image and label": lambda: [{"img": image, "label": label, "id": 7} for image, label in Pairs()],
    "two items that name them": lambda: [{"image": image, "target": label} for image, label in list(Pairs())[:2]],
    "batches that name them": lambda: [{"images": images, "labels": labels} for images, labels in batches(5)],
    "a column of labels": lambda: (IMAGES, torch.tensor(LABELS)[:, None]),
    **{f"pictures of mode {mode}": lambda mode=mode: pictures(mode) for mode in ("RGB", "L", "P", "HSV", "CMYK", "YCbCr")},
    "sparse": lambda: (IMAGES.to_sparse(), torch.tensor(LABELS).to_sparse()),
    "of another library's layout": lambda: (IMAGES.to_mkldnn(), LABELS),
    "nested": lambda: (torch.nested.nested_tensor(list(IMAGES), layout=torch.strided), LABELS),
    "quantised": lambda: (torch.quantize_per_tensor(IMAGES, 1 / 255, 0, torch.quint8), LABELS),
    "float8": lambda: (IMAGES.to(torch.float8_e4m3fn), LABELS),
    "negated": lambda: (torch.complex(IMAGES, -IMAGES).conj().imag, LABELS),
}  # fmt: skip
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "without values": (lambda: (IMAGES.to("meta"), LABELS), "images or labels are on torch's meta device, without values"),
    "nested, of several shapes": (
        lambda: (torch.nested.nested_tensor([IMAGES[0], IMAGES[0, :, :4]], layout=torch.strided), LABELS[:2]),
        "a tensor that cannot be read",
    ),
    "one-hot labels": (lambda: [(image, np.eye(4)[label]) for image, label in Pairs()], r"a label of shape \(4,\)"),
    "as many one-hot labels as channels": (
        lambda: [(image, np.eye(3)[label % 3]) for image, label in Pairs()],
        r"a label of shape \(3,\)",
    ),
    "batches without channels": (lambda: [(image[:, 0], labels) for image, labels in batches(5)], "a batch .N, C, H, W."),
    "images of two shapes": (lambda: [(IMAGES[0], 0), (IMAGES[1, :, :4], 0), (IMAGES[2], 0)], "valid: all of one shape"),
    "a list of tensors of two shapes": (lambda: ([IMAGES[0], IMAGES[1, :, :4]], LABELS[:2]), "not all of one shape"),
    "other names": (lambda: {"pictures": IMAGES, "y": LABELS}, "data: dict has the keys pictures, y; valid: one of image, "),
    "two names of labels": (
        lambda: [{"image": image, "label": label, "target": label} for image, label in Pairs()],
        "an item of list has the keys image, label, target",
    ),
    "images alone": (lambda: list(IMAGES), "is no pair of an image and a label"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*(prototype|beta state|deprecated)")
@pytest.mark.parametrize("kind", RIGHT)
def test_images_are_read_as_meant(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (row,) = scored(RIGHT[kind]()).rows
    assert row.ca.value == 100


@pytest.mark.filterwarnings("ignore:.*prototype")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_data_is_one_line(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, message = REFUSED[kind]
    refused(data(), message)


class Convolved(Brightness):
    """The same with weights of a type of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.same = torch.nn.Conv2d(3, 3, 1, bias=False, dtype=torch.float32, device="cpu")
        with torch.no_grad():
            self.same.weight.copy_(torch.eye(3, device="cpu")[:, :, None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.same(x))


@contextmanager
def of_type(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "around", [of_type(torch.float64), of_type(torch.float16), torch.device("meta"), torch.no_grad()]
)
def test_what_a_program_sets_for_all_changes_no_figure(
    around: AbstractContextManager[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = Convolved()
    with around:
        before = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
        (row,) = scored((IMAGES, LABELS), model).rows
        assert (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()) == before
    assert (row.ca.value, row.ra["worst"].value) == (100, 100)


def test_a_function_s_own_weights_keep_their_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    mixed = torch.nn.Conv2d(3, 3, 3, padding=1).to(memory_format=torch.channels_last)
    weights = [*network.parameters(), *mixed.parameters()]
    strides, values = [weight.stride() for weight in weights], [weight.clone() for weight in weights]
    options = {"device": "cpu", "overrides": ["measure.latency=false"], "store": "store"}
    rs.evaluate(lambda x: network(mixed(x)), data=(IMAGES, LABELS), attacks="fgsm", eps=0.001, **options)
    assert [weight.stride() for weight in weights] == strides
    assert all(torch.equal(weight, value) for weight, value in zip(weights, values, strict=True))
