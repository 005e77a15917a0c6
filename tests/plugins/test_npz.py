"""A user's own arrays: known by content, checked before they are read, split as said."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import robuststack as rs
from robuststack.engine.data import load
from robuststack.errors import DatasetError
from robuststack.plugin.options import InvalidOptions
from robuststack.plugin.registry import Registry

CPU = torch.device("cpu")


def arrays(count: int = 20, shape: tuple[int, ...] = (3, 5, 7), classes: int = 4) -> dict[str, np.ndarray]:
    random = np.random.RandomState(0)
    return {
        "x_train": random.randint(256, size=(count, *shape)).astype(np.uint8),
        "y_train": np.arange(count) % classes,
        "x_test": random.randint(256, size=(6, *shape)).astype(np.uint8),
        "y_test": np.arange(6) % classes,
    }


def written(folder: Path, made: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    np.savez(folder / "mine.npz", **made)
    return folder / "mine.npz"


def npz(path: Path | str, **options: Any) -> rs.Dataset:
    return Registry().create("dataset", "npz", {"path": str(path), **options})


def test_arrays_are_taken_as_they_are(tmp_path):
    made = arrays()
    dataset = npz(written(tmp_path, made), validation=0.25)
    splits = dataset.load(tmp_path)
    assert np.array_equal(splits["test"].images, made["x_test"])
    place = {image.tobytes(): row for row, image in enumerate(made["x_train"])}
    rows = {split: [place[image.tobytes()] for image in splits[split].images] for split in ("train", "validation")}
    assert sorted(rows["train"] + rows["validation"]) == list(range(20))
    assert all(row == sorted(row) for row in rows.values())
    for split, taken in rows.items():
        assert splits[split].labels.tolist() == made["y_train"][taken].tolist()
    assert {split: dataset.size(split) for split in splits} == {"train": 15, "validation": 5, "test": 6}
    assert dataset.shape == (3, 5, 7)
    assert dataset.num_classes == 4


def test_by_default_a_tenth_of_each_class_validates(tmp_path):
    made = arrays(40)
    made["y_train"].sort()
    dataset = npz(written(tmp_path, made))
    assert (dataset.size("train"), dataset.size("validation")) == (36, 4)
    splits = dataset.load(tmp_path)
    assert np.bincount(splits["validation"].labels).tolist() == [1, 1, 1, 1]
    assert np.bincount(splits["train"].labels).tolist() == [9, 9, 9, 9]


def test_the_same_images_validate_each_time(tmp_path):
    path = written(tmp_path, arrays(40))
    first, again = npz(path).load(tmp_path), npz(path).load(tmp_path)
    assert np.array_equal(first["validation"].images, again["validation"].images)
    assert not np.array_equal(first["validation"].images, arrays(40)["x_train"][36:])


def test_arrays_of_their_own_validate(tmp_path):
    made = arrays() | {"x_validation": arrays(5)["x_train"] // 2, "y_validation": np.arange(5) % 4}
    dataset = npz(written(tmp_path, made))
    splits = dataset.load(tmp_path)
    assert np.array_equal(splits["validation"].images, made["x_validation"])
    assert np.array_equal(splits["train"].images, made["x_train"])
    assert {split: dataset.size(split) for split in splits} == {"train": 20, "validation": 5, "test": 6}


def test_a_class_with_one_training_image_trains(tmp_path):
    made = arrays(20) | {"y_train": np.array([3] + [0, 1, 2] * 6 + [0])}
    splits = npz(written(tmp_path, made), validation=0.5).load(tmp_path)
    assert np.bincount(splits["train"].labels, minlength=4)[3] == 1
    assert len(splits["validation"].labels) == npz(tmp_path / "mine.npz", validation=0.5).size("validation")


def test_where_each_class_has_one_image_nothing_can_train(tmp_path):
    dataset = npz(written(tmp_path, arrays(4)))
    assert (dataset.size("train"), dataset.size("validation")) == (4, 0)
    assert dataset.training_problem() == "has no validation images; it can only score finished models"
    assert set(dataset.load(tmp_path)) == {"train", "test"}


def test_channels_may_come_last(tmp_path):
    made = arrays()
    last = {key: array.transpose(0, 2, 3, 1) if key[0] == "x" else array for key, array in made.items()}
    first, other = npz(written(tmp_path, made)), npz(written(tmp_path / "last", last), layout="nhwc")
    assert other.shape == first.shape
    for split, part in first.load(tmp_path).items():
        assert np.array_equal(other.load(tmp_path)[split].images, part.images)


@pytest.mark.parametrize(("channels", "expected"), [(None, 1), (1, 1), (3, 3)])
def test_one_channel_can_be_repeated(tmp_path, channels, expected):
    made = arrays(shape=(1, 5, 7))
    dataset = npz(written(tmp_path, made), channels=channels)
    images = dataset.load(tmp_path)["test"].images
    assert dataset.shape == images.shape[1:] == (expected, 5, 7)
    assert all(np.array_equal(images[:, index], made["x_test"][:, 0]) for index in range(expected))


def test_images_of_other_channels_than_one_or_three_are_left_alone(tmp_path):
    assert npz(written(tmp_path, arrays(shape=(4, 5, 7)))).shape == (4, 5, 7)


def test_the_engine_accepts_bytes_and_floats(tmp_path):
    made = arrays()
    bytes_ = load(npz(written(tmp_path / "a", made)), tmp_path, CPU)
    floats = {key: (array / 255).astype(np.float32) if key[0] == "x" else array for key, array in made.items()}
    floats_ = load(npz(written(tmp_path / "b", floats)), tmp_path, CPU)
    for split in ("train", "validation", "test"):
        torch.testing.assert_close(bytes_[split].batch(slice(0, 9)), floats_[split].batch(slice(0, 9)))


def test_a_compressed_file_is_read_too(tmp_path):
    np.savez_compressed(tmp_path / "mine.npz", **arrays())
    assert npz(tmp_path / "mine.npz").size("test") == 6


def test_options_decide_radius_and_augmentation():
    dataset = npz("nowhere.npz", eps="4/255", pad=2, flip=True)
    assert dataset.eps == pytest.approx(4 / 255)
    assert dataset.augmentation == rs.Augmentation(pad=2, flip=True)
    plain = npz("nowhere.npz")
    assert (plain.eps, plain.augmentation) == (8 / 255, rs.Augmentation())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 8}, r"eps: 8 is outside \(0, 1\]"),
        ({"channels": 2}, "channels: must be 1 or 3"),
        ({"layout": "hwc"}, "layout: must be 'nchw' or 'nhwc'"),
        ({"validation": 0.0}, "validation: must be greater than 0"),
        ({"validation": 1.0}, "validation: must be less than 1"),
        ({"pad": -1}, "pad: must be greater than or equal to 0"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(InvalidOptions, match=message):
        npz("nowhere.npz", **options)


# What it is known by


def test_the_same_content_elsewhere_is_the_same_data(tmp_path):
    path = written(tmp_path, arrays())
    shutil.copy(path, tmp_path / "copy.npz")
    first, copy = npz(path), npz(tmp_path / "copy.npz")
    assert first.fingerprint == copy.fingerprint
    assert first.fingerprint.startswith("sha256:")
    without = {key: value for key, value in first.resolved().items() if key != "places"}
    assert without == {key: value for key, value in copy.resolved().items() if key != "places"}
    assert first.resolved()["places"] == {"path": str(path)}


def test_another_pixel_is_other_data(tmp_path):
    made = arrays()
    first = npz(written(tmp_path, made)).fingerprint
    made["x_train"][0, 0, 0, 0] ^= 1
    assert npz(written(tmp_path, made)).fingerprint != first


def test_shape_and_sizes_come_from_the_headers_alone(tmp_path):
    """The images are not there at all: every array's file ends with its header."""
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for split, count in (("train", 50_000), ("test", 6)):
            header, labels = io.BytesIO(), io.BytesIO()
            shape = {"descr": "|u1", "fortran_order": False, "shape": (count, 3, 32, 32)}
            np.lib.format.write_array_header_1_0(header, shape)
            np.save(labels, np.arange(count) % 4)
            archive.writestr(f"x_{split}.npy", header.getvalue())
            archive.writestr(f"y_{split}.npy", labels.getvalue())
    dataset = npz(path)
    assert dataset.shape == (3, 32, 32)
    assert dataset.size("train") == 45_000
    assert dataset.num_classes == 4
    with pytest.raises(DatasetError, match=r"it cannot be read as an \.npz file"):
        dataset.load(tmp_path)


def test_a_plan_imports_no_torch(tmp_path):
    script = (
        "import sys; from robuststack.plugin.registry import Registry;"
        f"one = Registry().create('dataset', 'npz', {{'path': {str(written(tmp_path, arrays()))!r}}});"
        "one.resolved(), one.shape, one.num_classes, one.size('train');"
        "print([name for name in ('torch', 'torchvision', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


SUITE = """
datasets: {{name: npz, options: {{path: {path}, pad: 1, flip: true}}}}
architectures: {{name: resnet8, options: {{width: 4}}}}
train: {{epochs: 1, batch_size: 6}}
defenses: none
attacks: fgsm
evaluate: {{block: 6}}
measure: {{latency: false}}
"""


def test_a_suite_runs_on_it_and_finds_its_results_again_when_the_file_has_moved(tmp_path):
    path = written(tmp_path, arrays())
    suite = tmp_path / "mine.yaml"
    suite.write_text(SUITE.format(path=path))
    where = {"store": tmp_path / "store", "leaderboard": tmp_path / "board", "device": "cpu"}
    (row,) = rs.run(suite, **where).rows
    assert row.n == 6
    assert len(list((tmp_path / "store").rglob("result.json"))) == 5
    results = {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("result.json")}
    moved = path.rename(tmp_path / "moved.npz")
    suite.write_text(SUITE.format(path=moved))
    rs.run(suite, **where)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("result.json")} == results


# What is refused


def refused(path: Path | str, **options: Any) -> str:
    """The error of making a plan."""
    dataset = npz(path, **options)
    with pytest.raises(DatasetError) as error:
        _ = dataset.shape, dataset.num_classes, dataset.size("train"), dataset.fingerprint
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_path_that_is_not_given_is_asked_for():
    assert refused("") == "dataset 'npz': option 'path' is not given; it says where your data is"


def test_an_absent_file_is_named(tmp_path):
    assert refused(tmp_path / "x.npz").startswith(
        f"dataset 'npz', {tmp_path / 'x.npz'}: it cannot be read as an .npz file: No such file"
    )


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: content[:-40], "it is cut off"),
        (lambda content: b"<html>Not found</html>", "it is a web page"),
        (lambda content: b"", "it is empty"),
        (lambda content: bytes(range(128, 256)), "BadZipFile: File is not a zip file"),
    ],
)
def test_a_file_that_is_no_archive_is_refused(tmp_path, damage, reason):
    path = written(tmp_path, arrays())
    path.write_bytes(damage(path.read_bytes()))
    assert refused(path).startswith(f"dataset 'npz', {path}: it cannot be read as an .npz file: {reason}")


def test_a_damaged_array_is_refused_when_it_is_read(tmp_path):
    made = arrays(1000)
    path = written(tmp_path, made)
    content = bytearray(path.read_bytes())
    content[content.index(made["x_train"].tobytes()) + 100_000] ^= 1
    path.write_bytes(content)
    dataset = npz(path)
    assert dataset.shape == (3, 5, 7)
    with pytest.raises(DatasetError, match=r"it cannot be read as an \.npz file: BadZipFile: Bad CRC-32"):
        dataset.load(tmp_path)


@pytest.mark.parametrize("key", ["x_train", "y_train"])
def test_objects_are_never_unpickled(tmp_path, key):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    objects = np.empty(20, dtype=object)
    objects[:] = [Trap() for _ in range(20)]
    planned = npz(written(tmp_path, arrays()))
    assert planned.shape == (3, 5, 7)
    path = written(tmp_path, arrays() | {key: objects})
    assert f"{key} is of type object" in refused(path)
    with pytest.raises(DatasetError, match="Object arrays cannot be loaded"):
        planned.load(tmp_path)  # The file was another one when its headers were read.
    assert not (tmp_path / "sprung").exists()


ALL = "x_train, y_train, x_test, y_test"
FROM_ZERO = (
    "valid: from 0 to at least 1. If they count from 1, subtract 1; if classes are missing, say with `classes` how many"
    " there are"
)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"y_test": None}, f"there is no array y_test: it holds x_test, x_train, y_train; expected {ALL}"),
        ({"x_train": None}, f"there is no array x_train: it holds x_test, y_test, y_train; expected {ALL}"),
        (
            {"x_validation": np.zeros((2, 3, 5, 7), np.uint8)},
            "there is no array y_validation: it holds x_test, x_train, x_validation and 2 more; expected x_train, y_train,"
            " x_validation, y_validation, x_test, y_test",
        ),
        (
            {"x_train": np.zeros((20, 3, 5, 7), complex)},
            "x_train is of type complex128; valid: uint8 (0 to 255), float32 (0 to 1), or another type of numbers",
        ),
        (
            {"x_test": np.zeros((6, 35), np.uint8)},
            "x_test has shape (6, 35); valid: [N, C, H, W], [N, H, W, C] or, of one channel, [N, H, W]",
        ),
        ({"x_test": np.zeros((6, 5, 7), np.uint8)}, "images of x_test have shape (5, 7), those of x_train (3, 5, 7)"),
        (
            {"x_test": np.zeros((6, 3, 5, 8), np.uint8)},
            "images of x_test have shape (3, 5, 8), those of x_train (3, 5, 7)",
        ),
        ({"y_test": np.arange(5) % 4}, "x_test holds 6 images, y_test 5 labels"),
        ({"y_train": np.arange(20) / 2}, "y_train holds numbers that are not whole; valid: whole numbers [N]"),
        (
            {"y_train": np.eye(20, 4, dtype=int)},
            "y_train is of type int64 and shape (20, 4); valid: whole numbers [N]; one-hot labels become numbers by"
            " y.argmax(1)",
        ),
        (
            {"y_test": np.array(["cat", "dog", "cat", "dog", "cat", "dog"])},
            "y_test is of type <U3 and shape (6,); valid: whole numbers [N]; names become numbers by np.unique(y,"
            " return_inverse=True)[1]",
        ),
        ({"y_train": np.arange(20) % 4 + 1}, f"labels of y_train go from 1 to 4; {FROM_ZERO}"),
        ({"y_train": np.arange(20) - 1}, "labels of y_train go from -1 to 18; valid: from 0"),
        ({"y_train": np.zeros(20, int)}, f"labels of y_train go from 0 to 0; {FROM_ZERO}"),
        ({"y_test": np.arange(6) + 1}, "y_test has a label 6, and the labels of y_train make 4 classes"),
        (
            {"x_test": np.zeros((0, 3, 5, 7), np.uint8), "y_test": np.zeros(0, int)},
            "x_test holds 0 images; at least 1 are needed",
        ),
        (
            {"x_train": np.zeros((1, 3, 5, 7), np.uint8), "y_train": np.zeros(1, int)},
            "x_train holds 1 images; at least 2 are needed",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused_before_any_compute(tmp_path, changes, problem):
    made = {key: array for key, array in (arrays() | changes).items() if array is not None}
    path = written(tmp_path, made)
    assert refused(path) == f"dataset 'npz', {path}: {problem}"


@pytest.mark.parametrize(
    ("shape", "layout", "other"),
    [((32, 32, 3), "nchw", "nhwc"), ((1, 28, 28), "nhwc", "nchw"), ((28, 28, 1), "nchw", "nhwc")],
)
def test_the_wrong_layout_is_noticed(tmp_path, shape, layout, other):
    problem = f"images of shape {shape} have {max(shape)} channels as {layout}; was layout {other} meant?"
    assert refused(written(tmp_path, arrays(shape=shape)), layout=layout).endswith(problem)


@pytest.mark.parametrize("shape", [(4, 1, 1), (3, 8, 3), (3, 3, 3)])
def test_images_of_a_doubtful_shape_need_a_layout(tmp_path, shape):
    assert "layout" in refused(path := written(tmp_path, arrays(shape=shape)))
    assert npz(path, layout="nchw").shape == shape


@pytest.mark.parametrize("channels", [1, 3])
def test_only_one_channel_can_be_repeated(tmp_path, channels):
    have = 4 - channels if channels == 1 else 4
    path = written(tmp_path, arrays(shape=(have, 5, 7)))
    assert refused(path, channels=channels).endswith(
        f"channels is {channels}, the images have {have}; only one can be repeated"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.full((20, 3, 5, 7), 1.5, np.float32)}, r"split train: values from 1\.5 to 1\.5; models take"),
        ({"x_test": np.full((6, 3, 5, 7), np.nan, np.float32)}, "split test: image 0 holds NaN"),
    ],
)
def test_values_outside_their_range_are_refused_when_loaded(tmp_path, changes, message):
    with pytest.raises(DatasetError, match=message):
        load(npz(written(tmp_path, arrays() | changes)), tmp_path, CPU)
