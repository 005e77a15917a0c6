"""Data as users bring it, through the real command: the right figure, or one line before any compute.

Each case stands for a kind. Images are of one brightness, which says their class, and the models read it: whatever is read
otherwise than meant changes clean accuracy.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import robuststack as rs
from robuststack.cli import call

MODELS = """
import torch
from torch import nn

class Brightness(nn.Module):
    '''Class k for a mean brightness between k / classes and (k + 1) / classes.'''
    def __init__(self, classes):
        super().__init__()
        self.register_buffer("centers", (torch.arange(classes) + 0.5) / classes)
    def forward(self, x):
        return -100 * (x.mean((1, 2, 3))[:, None] - self.centers).abs()

class Always(nn.Module):
    '''Class 0, whatever it sees.'''
    def forward(self, x):
        nothing = 0 * x.sum((1, 2, 3))
        return torch.stack([nothing + 9, nothing, nothing], 1)

class Upright(nn.Module):
    '''Class 0 if the upper half is brighter, else 1.'''
    def forward(self, x):
        half = x.shape[2] // 2
        return torch.stack([x[:, :, :half].mean((1, 2, 3)), x[:, :, half:].mean((1, 2, 3))], 1)

def two(): return Brightness(2)
def three(): return Brightness(3)
def four(): return Brightness(4)
def seven(): return Brightness(7)
def ten(): return Brightness(10)
def twelve(): return Brightness(12)
def always(): return Always()
def upright(): return Upright()
"""


@pytest.fixture(scope="module", autouse=True)
def _models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("models")
    (folder / "users_models.py").write_text(MODELS)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


def evaluated(capsys: pytest.CaptureFixture[str], dataset: str, model: str, *more: str) -> tuple[int, Any, list[str]]:
    """Run `robuststack evaluate`: exit code, row, lines of standard error that are notes or errors."""
    capsys.readouterr()
    arguments = ["--python", f"users_models:{model}", "--dataset", dataset, "--attack", "fgsm", "--eps", "0.001"]
    quick = ["--set", "measure.latency=false", "--device", "cpu", "--json"]
    code = call(["evaluate", *arguments, *more, *quick])
    output, errors = capsys.readouterr()
    lines = [line for line in errors.splitlines() if line.startswith(("robuststack:", "Traceback", "failed:"))]
    return code, json.loads(output)[0] if code == 0 else None, lines


# --- making data


def levels(classes: int, each: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Labels sorted by class, int64 [N], and the brightness that shows each, float64 [N] in (0, 1)."""
    labels = np.arange(classes).repeat(each)
    return labels, (labels + 0.5) / classes


def flat(brightness: np.ndarray, shape: tuple[int, ...] = (3, 8, 8)) -> np.ndarray:
    """Images of one brightness each: float64 [N, *shape]."""
    return np.broadcast_to(brightness.reshape(-1, *[1] * len(shape)), (len(brightness), *shape)).copy()


def as_bytes(images: np.ndarray) -> np.ndarray:
    return (images * 255).round().astype(np.uint8)


def npz(**arrays: np.ndarray) -> str:
    np.savez("mine.npz", **arrays)
    return "npz path=mine.npz"


def only_tests(classes: int, change: Callable[[np.ndarray], np.ndarray] = as_bytes, **shape: Any) -> str:
    """Test images alone, their values (float64 in (0, 1)) changed."""
    labels, brightness = levels(classes)
    return npz(x_test=change(flat(brightness, **shape)), y_test=labels)


def with_labels(change: Callable[[np.ndarray], np.ndarray], classes: int = 4) -> str:
    labels, brightness = levels(classes)
    return npz(x_test=as_bytes(flat(brightness)), y_test=change(labels))


def picture(brightness: float, mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("L", size, round(brightness * 255)).convert(mode)


def classes_folder(names: list[str], save: Callable[[Image.Image, Path], None] | None = None, of: int = 0) -> str:
    """test/<class>/<n>.png, the classes in the order of their brightness; `save` writes the first image of each."""
    for label, name in enumerate(names):
        folder = Path("mine/test", name)
        folder.mkdir(parents=True)
        for number in range(2):
            image = picture((label + 0.5) / (of or len(names)))
            if save and number == 0:
                save(image, folder / "0.png")
            else:
                image.save(folder / f"{number}.png")
    return "folder path=mine size=8"


def junk() -> str:
    dataset = classes_folder(["a", "b"])
    for name in (".ipynb_checkpoints/0.png", "__MACOSX/0.png", "a/._0.png", "a/.ipynb_checkpoints/0-checkpoint.png"):
        path = Path("mine/test", name)
        path.parent.mkdir(exist_ok=True)
        picture(0.9).save(path)
    Path("mine/test/b/Thumbs.db").write_bytes(b"x")
    Path("mine/test/b/desktop.ini").write_text("x")
    return dataset


def other_files() -> str:
    dataset = classes_folder(["a", "b"])
    Path("mine/test/a/labels.csv").write_text("x")
    Path("mine/test/b/0.npy").write_bytes(b"x")
    picture(0.9).save("mine/test/stray.png")
    return dataset


def turned() -> str:
    """Portraits with the upper or lower half bright, as a camera held sideways stores them."""
    for label, name in enumerate(("upper", "lower")):
        pixels = np.zeros((8, 8), np.uint8)
        pixels[4 * label : 4 * label + 4] = 255
        upright = Image.fromarray(pixels).convert("RGB")
        Path("mine/test", name).mkdir(parents=True)
        # Orientation 6: turn by 90 degrees clockwise to show.
        exif = Image.Exif()
        exif[0x0112] = 6
        upright.transpose(Image.Transpose.ROTATE_90).save(f"mine/test/{name}/0.png", exif=exif)
    return "folder path=mine size=8 classes=[upper, lower]"


def gif(image: Image.Image, path: Path) -> None:
    image.save(path.with_suffix(".gif"), save_all=True, append_images=[picture(0.99), picture(0.01)])


def in_mode(mode: str) -> Callable[[Image.Image, Path], None]:
    def save(image: Image.Image, path: Path) -> None:
        image.convert(mode).save(path.with_suffix(".tif" if mode == "CMYK" else ".png"))

    return save


def sixteen_bits(image: Image.Image, path: Path) -> None:
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)


def truncated(image: Image.Image, path: Path) -> None:
    noise = np.random.RandomState(0).randint(256, size=(64, 64)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def masks() -> str:
    """PNG files whose pixels are 0 and 1."""
    for value, name in enumerate(("dark", "lit")):
        Path("mine/test", name).mkdir(parents=True)
        Image.new("L", (8, 8), value).save(f"mine/test/{name}/0.png")
    return "folder path=mine size=8 classes=[dark, lit]"


def class_file() -> str:
    dataset = classes_folder(["night", "dusk", "day"])
    Path("order.txt").write_text("night\ndusk\n\nday\n", encoding="utf-8-sig")
    return f"{dataset} classes=order.txt"


def fewer_classes() -> str:
    """Four classes, and no image of the last."""
    labels, brightness = levels(4)
    return npz(x_test=as_bytes(flat(brightness))[labels < 3], y_test=labels[labels < 3])


def sorted_by_class() -> str:
    """90 images of three classes, sorted by class."""
    labels, brightness = levels(3, 30)
    return npz(x_test=as_bytes(flat(brightness)), y_test=labels)


def trained_on(train: list[int], test: list[int], **more: np.ndarray) -> str:
    classes = max(*train, *test) + 1
    images = {
        name: as_bytes(flat((np.array(labels) + 0.5) / classes)) for name, labels in (("train", train), ("test", test))
    }
    noise = np.random.RandomState(0).randint(2, size=images["train"].shape).astype(np.uint8)
    arrays = {"x_train": images["train"] + noise, "y_train": np.array(train), "x_test": images["test"]}
    return npz(**arrays, y_test=np.array(test), **more)


def repeated_images() -> str:
    labels, brightness = levels(4)
    images = as_bytes(flat(brightness))
    return npz(
        x_train=images, y_train=labels, x_test=np.concatenate([images[:2], images[5:6] + 1]), y_test=labels[[0, 1, 5]]
    )


def one_bit_above(images: np.ndarray) -> np.ndarray:
    floats = images.astype(np.float32)
    floats[-1, 0, 0, 0], floats[0, 0, 0, 0] = np.nextafter(np.float32(1), np.float32(2)), -1e-7
    return floats


def a_little_above(images: np.ndarray) -> np.ndarray:
    floats = images.astype(np.float32)
    floats[-1, 0, 0, 0] = 1.0001
    return floats


def with_nan(images: np.ndarray) -> np.ndarray:
    floats = images.astype(np.float32)
    floats[5, 0, 0, 0] = np.nan
    return floats


def binary(kind: type) -> Callable[[], str]:
    def make() -> str:
        labels = np.arange(6) % 2
        return npz(x_test=flat(labels.astype(float)).astype(kind), y_test=labels)

    return make


def scaled(factor: float, kind: type = np.float32) -> Callable[[], str]:
    return lambda: only_tests(4, lambda images: (images * factor).astype(kind))


# --- the table


@dataclass(frozen=True)
class Right:
    """Data that is read as meant."""

    kind: str
    data: Callable[[], str]
    model: str
    ca: float = 100.0
    more: tuple[str, ...] = ()
    row: dict[str, Any] = field(default_factory=dict)
    """What the row says besides."""
    notes: tuple[str, ...] = ()
    """What standard error and the row say of the data."""


RIGHT = [
    Right("limit on data sorted by class", sorted_by_class, "always", 100 / 3, ("--limit", "30"),
          {"n": 30, "limit": 30, "limit_rule": "stratified"}),
    Right("limit that takes the first", sorted_by_class, "always", 100.0,
          ("--limit", "30", "--set", "evaluate.limit_rule=first"), {"n": 30, "limit_rule": "first"}),
    Right("limit above the number of images", sorted_by_class, "always", 100 / 3, ("--limit", "900"), {"n": 90}),
    Right("class folders that are numbers", lambda: classes_folder([str(label) for label in range(12)]), "twelve",
          row={"classes": [str(label) for label in range(12)]},
          notes=("classes in the order of their labels: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11", "sorted as such")),
    Right("class folders with leading zeros", lambda: classes_folder([f"{label:03}" for label in range(12)]), "twelve"),
    Right("classes in an order of their own",
          lambda: classes_folder(["night", "dusk", "day"]) + " classes=[night, dusk, day]", "three",
          row={"classes": ["night", "dusk", "day"]}),
    Right("classes in a file", class_file, "three", row={"classes": ["night", "dusk", "day"]}),
    Right("some classes of a list have no folder",
          lambda: classes_folder(["night", "dusk"], of=4) + " classes=[night, dusk, day, noon]", "four",
          notes=("no test image of day, noon",)),
    Right("what archives and notebooks leave behind", junk, "two", row={"n": 4, "classes": ["a", "b"]},
          notes=("left out, hidden or left behind by other programs:", "and 3 more")),
    Right("files that are no images", other_files, "two", row={"n": 4},
          notes=("left out, no images in folders of classes: test/a/labels.csv, test/b/0.npy, test/stray.png",)),
    Right("EXIF orientation", turned, "upright"),
    Right("GIF files, first frame", lambda: classes_folder(["a", "b", "c", "d"], gif), "four", row={"n": 8}),
    *(Right(f"image files of mode {mode}", lambda mode=mode: classes_folder(["a", "b", "c", "d"], in_mode(mode)), "four")
      for mode in ("P", "L", "LA", "RGBA", "CMYK")),
    Right("image files of 0 and 1", lambda: masks() + " white=1", "two"),
    Right("test arrays alone", lambda: only_tests(4), "four", row={"n": 12}),
    Right("test arrays of fewer classes than the model", lambda: fewer_classes() + " classes=4", "four",
          notes=("4 classes, and these labels never occur: 3",)),
    Right("label gaps", lambda: trained_on([0, 2, 4, 6] * 3, [0, 2, 4, 6]), "seven",
          notes=("7 classes, and these labels never occur: 1, 3, 5",)),
    Right("labels that no test image has", lambda: trained_on([0, 1, 2, 3] * 3, [0, 1, 2]), "four",
          notes=("no test image of label 3",)),
    Right("test images in the training data", repeated_images, "four",
          notes=("2 of 3 test images are among the training images too",)),
    Right("arrays under other names", lambda: trained_on([0, 1] * 4, [0, 1], x_val=np.zeros(3)), "two",
          notes=("arrays that are not read: x_val",)),
    Right("float images", scaled(1), "four"),
    Right("half precision", scaled(1, np.float16), "four"),
    Right("double precision", scaled(1, np.float64), "four"),
    Right("bytes as int64", lambda: only_tests(4, lambda images: as_bytes(images).astype(np.int64)), "four"),
    Right("booleans", binary(bool), "two"),
    Right("bytes of 0 and 1, said", lambda: binary(np.uint8)() + " white=1", "two"),
    Right("floats of 0 and 1", binary(np.float32), "two"),
    Right("floats up to 255, said", lambda: scaled(255)() + " white=255", "four"),
    Right("16 bits, said", lambda: scaled(65535, np.uint16)() + " white=65535", "four"),
    Right("12 bits, said", lambda: scaled(4095, np.uint16)() + " white=4095", "four"),
    Right("floats divided by 255 twice, said", lambda: scaled(1 / 255)() + " white=1/255", "four"),
    Right("values a bit outside [0, 1]", lambda: only_tests(4, one_bit_above), "four"),
    Right("gray arrays without an axis of channels", lambda: only_tests(4, shape=(8, 8)), "four"),
    Right("gray arrays for a colour network", lambda: only_tests(4, shape=(8, 8)) + " channels=3", "four"),
    Right("channels last, said", lambda: only_tests(4, shape=(8, 8, 3)) + " layout=nhwc", "four"),
    Right("an ambiguous shape, said", lambda: only_tests(4, shape=(3, 8, 3)) + " layout=nhwc", "four"),
    Right("more channels than colours", lambda: only_tests(4, shape=(4, 8, 8)), "four"),
    Right("labels in a column", lambda: with_labels(lambda labels: labels[:, None]), "four"),
    Right("labels as floats", lambda: with_labels(lambda labels: labels.astype(float)), "four"),
    Right("labels as bytes", lambda: with_labels(lambda labels: labels.astype(np.uint8)), "four"),
    Right("labels as booleans", lambda: with_labels(lambda labels: labels.astype(bool), 2), "two"),
    Right("Fortran order", lambda: only_tests(4, lambda images: np.asfortranarray(as_bytes(images))), "four"),
]  # fmt: skip


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: case.kind)
def test_data_is_read_as_meant(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, row, lines = evaluated(capsys, case.data(), case.model, *case.more)
    assert code == 0, lines
    assert row["ca"]["value"] == pytest.approx(case.ca, abs=1e-3)
    assert {key: row[key] for key in case.row} == case.row
    for note in case.notes:
        assert any(note in line for line in lines), lines
        assert any(note in line for line in row["dataset_notes"])
    assert all(line.startswith("robuststack: note: ") for line in lines)
    assert len(lines) == len(row["dataset_notes"]), "each note is printed once"


@dataclass(frozen=True)
class Refused:
    """Data that is refused in one line."""

    kind: str
    data: Callable[[], str]
    message: str
    """A regular expression that the line holds."""


REFUSED = [
    Refused("channels last: 4", lambda: only_tests(4, shape=(32, 32, 4)),
            r"images of shape \(32, 32, 4\) have 32 channels as nchw; was layout nhwc meant\?"),
    Refused("channels last: 12", lambda: only_tests(4, shape=(32, 32, 12)), "was layout nhwc meant?"),
    Refused("channels last: 3", lambda: only_tests(4, shape=(32, 32, 3)), "was layout nhwc meant?"),
    Refused("an ambiguous shape", lambda: only_tests(4, shape=(3, 8, 3)), "say layout: nchw or layout: nhwc"),
    Refused("bytes of 0 and 1", binary(np.uint8),
            r"0 and 1 only: either 1 is white \(white: 1\), or these images are nearly black \(white: 255\)"),
    Refused("int64 of 0 and 1", binary(np.int64), r"either 1 is white \(white: 1\)"),
    Refused("floats divided by 255 twice", scaled(1 / 255),
            r"only: either they were divided by 255 twice \(white: 1/255\), or these images are nearly black \(white: 1\)"),
    Refused("floats up to 255", scaled(255), "say which value is white, for example white: 255"),
    Refused("16 bits", scaled(65535, np.uint16), r"say which value is white, for example white: 65535 \(16 bits\)"),
    Refused("signed bytes", lambda: only_tests(4, lambda images: (images * 255 - 128).astype(np.int8)),
            "whole numbers from -96 to 95; valid: 0 to 255"),
    Refused("more than white", lambda: scaled(255)() + " white=100", "valid with white: 100 are 0 to 100"),
    Refused("floats from -1 to 1", lambda: only_tests(4, lambda images: (2 * images - 1).astype(np.float32)),
            r"values from -0.75 to 0.75; models take \[0, 1\].* these look scaled to \[-1, 1\]: store \(x \+ 1\) / 2"),
    Refused("normalised floats", lambda: only_tests(4, lambda images: ((images - 0.45) / 0.22).astype(np.float32)),
            "look normalised by a mean and a standard deviation"),
    Refused("a value above 1", lambda: only_tests(4, a_little_above),
            r"values from 0.125 to 1.0001; .*\(these end 0.0001 outside\)"),
    Refused("NaN in an image", lambda: only_tests(4, with_nan), "image 5 holds NaN"),
    Refused("one-hot labels", lambda: with_labels(lambda labels: np.eye(4)[labels]),
            r"one-hot labels become numbers by y.argmax\(1\)"),
    Refused("names as labels", lambda: with_labels(lambda labels: np.array(["a", "b", "c", "d"])[labels]),
            "names become numbers by np.unique"),
    Refused("labels from 1", lambda: with_labels(lambda labels: labels + 1), "If they count from 1, subtract 1"),
    Refused("negative labels", lambda: with_labels(lambda labels: labels - 1), "go from -1 to 2; valid: from 0"),
    Refused("labels that are not whole", lambda: with_labels(lambda labels: labels / 2), "numbers that are not whole"),
    Refused("labels that are not finite", lambda: with_labels(lambda labels: labels / 0.0 if labels.any() else labels),
            "numbers that are no labels"),
    Refused("more labels than classes", lambda: with_labels(lambda labels: labels) + " classes=3",
            "y_test has a label 3, and `classes` says 3"),
    Refused("test labels beyond those of training", lambda: trained_on([0, 1] * 4, [0, 1, 2]),
            "y_test has a label 2, and the labels of y_train make 2 classes"),
    Refused("no images", lambda: npz(x_test=np.zeros((0, 3, 8, 8), np.uint8), y_test=np.zeros(0, int)),
            "x_test holds 0 images; at least 1"),
    Refused("images without pixels", lambda: npz(x_test=np.zeros((2, 3, 0, 8), np.uint8), y_test=np.arange(2)),
            r"x_test has shape \(2, 3, 0, 8\)"),
    Refused("a folder that the list of classes lacks", lambda: classes_folder(["a", "b", "c"]) + " classes=[a, b]",
            "classes: 'c' is a folder of test, and is not named"),
    Refused("a class named twice", lambda: classes_folder(["a", "b"]) + " classes=[a, b, a]", "'a' is named twice"),
    Refused("a file of classes that is not there", lambda: classes_folder(["a", "b"]) + " classes=gone.txt",
            "'gone.txt' is no file with one name a line"),
    Refused("image files of 0 and 1", masks, r"0 and 1 only: either 1 is white \(white: 1\)"),
    Refused("image files of 16 bits", lambda: classes_folder(["a", "b"], sixteen_bits),
            "test/a/0.png: it has pixels of mode I;16; valid: 8 bits a channel"),
    Refused("a truncated image file", lambda: classes_folder(["a", "b"], truncated), "test/a/0.png: it does not decode"),
    Refused("validation split of test arrays alone", lambda: only_tests(4),
            "dataset 'npz' has no validation images"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.kind)
def test_doubtful_data_is_refused_in_one_line(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with np.errstate(divide="ignore", invalid="ignore"):
        dataset = case.data()
    more = ("--set", "evaluate.split=validation") if "validation" in case.kind else ()
    code, _, lines = evaluated(capsys, dataset, "four" if "npz" in dataset else "two", *more)
    errors = [line for line in lines if not line.startswith("robuststack: note: ")]
    assert code == 2, lines
    assert len(errors) == 1
    assert errors[0].startswith("robuststack: error: ")
    assert re.search(case.message, errors[0]), errors[0]


# --- what cannot train


SUITE = """
datasets: {{name: {name}, options: {{path: {path}}}}}
architectures: {{name: resnet8, options: {{width: 4}}}}
train: {{epochs: 1, batch_size: 2}}
defenses: none
attacks: fgsm
"""


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (lambda: only_tests(4), "has no train images; it can only score finished models"),
        (lambda: classes_folder(["a", "b"]), "has no train images; it can only score finished models"),
        (lambda: trained_on([0, 1, 3] * 3, [0, 1, 2, 3]), "has no training image of class 2, which y_test has"),
    ],
)  # fmt: skip
def test_data_that_cannot_train_is_refused_by_check(data, problem, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name, path = data().split()[:2]
    Path("mine.yaml").write_text(SUITE.format(name=name, path=path.partition("=")[2]))
    assert call(["check", "mine.yaml", "--device", "cpu"]) == 2
    assert capsys.readouterr().err == (
        f"robuststack: error: mine.yaml:2:1: no model can be trained on dataset {name!r}: it {problem}\n"
    )


def test_check_prints_the_notes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    trained_on([0, 2, 4, 6] * 4, [0, 2, 4, 6])
    Path("mine.yaml").write_text(SUITE.format(name="npz", path="mine.npz"))
    assert call(["check", "mine.yaml", "--device", "cpu"]) == 0
    assert capsys.readouterr().err == (
        "robuststack: note: dataset 'npz': 7 classes, and these labels never occur: 1, 3, 5\n"
    )


def test_python_hears_the_notes_before_any_compute_and_keeps_them(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    labels, brightness = levels(4)
    dataset = npz(x_test=as_bytes(flat(brightness)), y_test=2 * labels)
    note = "dataset 'npz': 7 classes, and these labels never occur: 1, 3, 5"
    options = {"attacks": ["fgsm"], "device": "cpu", "overrides": ["measure.latency=false"]}
    result = rs.evaluate(dataset=dataset, python="users_models:seven", **options)
    assert note in result.notes
    assert note in caplog.messages
    caplog.clear()
    with pytest.raises(rs.RobustStackError, match="7 classes"):
        rs.evaluate(dataset=dataset, python="users_models:ten", **options)
    assert note in caplog.messages


def test_the_terminal_prints_a_note_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    labels, brightness = levels(4)
    _, _, lines = evaluated(capsys, npz(x_test=as_bytes(flat(brightness)), y_test=2 * labels), "seven")
    assert lines.count("robuststack: note: dataset 'npz': 7 classes, and these labels never occur: 1, 3, 5") == 1


# --- what it is known by


def changed_order() -> None:
    Path("order.txt").write_text("day\ndusk\nnight\n")


def changed_pixels() -> None:
    for path in Path("mine/test/night").iterdir():
        picture(0.9).save(path)


@pytest.mark.parametrize(("change", "after"), [(changed_order, 100 / 3), (changed_pixels, 200 / 3)])
def test_whatever_changes_what_is_read_is_scored_anew(change, after, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    dataset = class_file()
    figures = [evaluated(capsys, dataset, "three")[1]["ca"]["value"]]
    change()
    figures.append(evaluated(capsys, dataset, "three")[1]["ca"]["value"])
    assert figures == [100.0, pytest.approx(after, abs=1e-3)]
