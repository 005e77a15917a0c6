"""A user's own image files: listed as ImageFolder lists them, known by content, cut square, refused by name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional

import robuststack as rs
from robuststack.engine.data import load
from robuststack.errors import DatasetError
from robuststack.plugin.registry import Registry

CPU = torch.device("cpu")
COUNTS = {"train": {"cat": 10, "dog": 5, "newt": 2}, "test": {"cat": 2, "dog": 1, "newt": 3}}


def picture(seed: int, width: int = 8, height: int = 8) -> Image.Image:
    return Image.fromarray(np.random.RandomState(seed).randint(256, size=(height, width, 3)).astype(np.uint8))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Image files of several kinds, some deeper, beside files that are none."""
    root, seed = tmp_path / "mine", 0
    for part, classes in COUNTS.items():
        for name, count in classes.items():
            below = root / part / name
            (below / "more").mkdir(parents=True)
            (below / "notes.txt").write_text("not an image")
            for number in range(count):
                suffix = (".png", ".PNG", ".bmp", ".tiff")[number % 4]
                where = below / "more" if number == 1 else below
                picture(seed).save(where / f"{number}{suffix}")
                seed += 1
    return root


def folder(path: Path | str, **options: Any) -> rs.Dataset:
    return Registry().create("dataset", "folder", {"path": str(path), "size": 8, **options})


def listed(path: Path) -> list[tuple[bytes, int]]:
    """What torchvision makes of a folder: each image's pixels and its class."""
    return [(np.asarray(image).tobytes(), label) for image, label in ImageFolder(str(path))]


def loaded(part: rs.Images) -> list[tuple[bytes, int]]:
    rows = part.images.transpose(0, 2, 3, 1)
    return [(row.tobytes(), int(label)) for row, label in zip(rows, part.labels, strict=True)]


def test_images_and_classes_are_those_of_image_folder(tree):
    splits = folder(tree).load(tree)
    assert sorted(loaded(splits["test"])) == sorted(listed(tree / "test"))
    training = loaded(splits["train"]) + loaded(splits["validation"])
    assert sorted(training) == sorted(listed(tree / "train"))


def test_a_home_folder_that_is_not_there_is_named(tree):
    for place, options in (
        ("~nobody-of-this-name/mine", {}),
        (tree, {"classes": "~nobody-of-this-name/names"}),
    ):
        with pytest.raises(rs.RobustStackError, match=r"~nobody-of-this-name/.*: there is no home folder"):
            _ = folder(place, **options).classes, folder(place, **options).size("test")


def test_sizes_and_classes_are_known_from_the_listing(tree):
    dataset = folder(tree)
    splits = dataset.load(tree)
    assert {split: dataset.size(split) for split in splits} == {"train": 14, "validation": 3, "test": 6}
    assert all(part.images.shape == (dataset.size(split), 3, 8, 8) for split, part in splits.items())
    assert dataset.num_classes == 3
    assert dataset.shape == (3, 8, 8)


@pytest.mark.parametrize(("share", "counts"), [(0.1, [1, 1, 1]), (0.2, [2, 1, 1]), (0.4, [4, 2, 1]), (0.99, [9, 4, 1])])
def test_a_share_of_each_class_validates_and_one_image_at_least_trains(tree, share, counts):
    splits = folder(tree, validation=share).load(tree)
    assert np.bincount(splits["validation"].labels).tolist() == counts
    assert np.bincount(splits["train"].labels).tolist() == [
        all_ - count for all_, count in zip((10, 5, 2), counts, strict=True)
    ]
    assert not set(loaded(splits["train"])) & set(loaded(splits["validation"]))


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
def test_a_folder_of_its_own_validates(tree, name):
    shutil.copytree(tree / "test", tree / name)
    for number, path in enumerate(path for path in sorted((tree / name).rglob("*.png"))):
        picture(1000 + number).save(path)
    splits = folder(tree).load(tree)
    assert loaded(splits["validation"]) == loaded(folder_as_test(tree, name).load(tree)["test"])
    assert sorted(loaded(splits["train"])) == sorted(listed(tree / "train"))


def folder_as_test(tree: Path, name: str) -> rs.Dataset:
    """A set whose test images are those of one folder."""
    alone = tree.parent / "alone"
    shutil.copytree(tree / name, alone / "test")
    return folder(alone)


def test_other_folders_are_said_to_be_left_out(tree):
    (tree / "extra" / "cat").mkdir(parents=True)
    (tree / ".cache").mkdir()
    notes = folder(tree).notes
    assert (
        "left out, no images in folders of classes: extra, test/cat/notes.txt, test/dog/notes.txt and 4 more" in notes
    )
    assert "left out, hidden or left behind by other programs: .cache" in notes


def test_images_of_test_that_are_trained_on_are_counted(tree):
    assert not any("among the training images" in note for note in folder(tree).notes)
    for number in (0, 4):
        shutil.copy(tree / "train" / "cat" / f"{number}.png", tree / "test" / "newt" / f"9{number}.png")
    assert "2 of 8 test images are among the training images too, byte for byte" in folder(tree).notes


def test_numbers_in_names_alone_do_not_make_them_numbers(tree):
    for part in COUNTS:
        for old, new in (("cat", "class10"), ("dog", "class9"), ("newt", "x")):
            (tree / part / old).rename(tree / part / new)
    assert folder(tree).classes == ["class10", "class9", "x"]


def test_the_last_images_by_name_validate(tree):
    validation = folder(tree, validation=0.2).load(tree)["validation"]
    names = ("9.PNG", "more/1.PNG")
    last = [(np.asarray(Image.open(tree / "train" / "cat" / name)).tobytes(), 0) for name in names]
    assert loaded(validation)[:2] == last


def test_the_split_is_always_the_same(tree):
    first, again = folder(tree).load(tree), folder(tree).load(tree)
    assert all(loaded(first[split]) == loaded(again[split]) for split in first)


@pytest.mark.parametrize(("width", "height"), [(30, 20), (20, 30), (9, 40), (5, 4), (8, 8), (8, 12)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_shorter_side_is_resized_and_the_centre_cut_out(tmp_path, width, height, channels):
    image = picture(0, width, height)
    for name in ("train/a/1.png", "train/a/2.png", "train/b/1.png", "train/b/2.png", "test/a/1.png", "test/b/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / name)
    resized = folder(tmp_path, channels=channels).load(tmp_path)["test"].images[0]
    # On tensors, by torchvision's other implementation; PIL's rounds to bytes in between.
    pixels = functional.pil_to_tensor(image.convert("L") if channels == 1 else image)
    expected = functional.center_crop(functional.resize(pixels, [8], antialias=True), [8, 8])
    assert resized.shape == (channels, 8, 8)
    assert np.abs(resized.astype(int) - expected.numpy().astype(int)).max() <= 1


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "CMYK"])
def test_every_eight_bit_image_becomes_colour_or_grayscale(tree, mode):
    image = picture(0).convert("RGB").convert(mode)
    first = tree / "test" / "newt" / "0.png"
    first.unlink()
    image.save(first.with_suffix(".tiff" if mode == "CMYK" else ".png"))
    for channels, kind in ((3, "RGB"), (1, "L")):
        test = folder(tree, channels=channels).load(tree)["test"].images[3]
        assert np.array_equal(test.transpose(1, 2, 0).squeeze(), np.asarray(image.convert(kind)))


def test_the_engine_accepts_what_is_loaded(tree):
    data = load(folder(tree, channels=1), tree, CPU)
    assert data["train"].batch(slice(0, 2))[0].shape == (2, 1, 8, 8)


def test_options_decide_radius_and_augmentation():
    dataset = folder("nowhere", eps="4/255", pad=2, flip=True)
    assert dataset.eps == pytest.approx(4 / 255)
    assert dataset.augmentation == rs.Augmentation(pad=2, flip=True)
    assert folder("nowhere").augmentation == rs.Augmentation()


# What it is known by


def test_the_same_files_elsewhere_are_the_same_data(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "copy")
    assert folder(tree).fingerprint == folder(tmp_path / "copy").fingerprint
    assert folder(tree).fingerprint.startswith("sha256:")


def change_content(tree: Path) -> None:
    path = tree / "train" / "cat" / "0.png"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # The size stays.
    path.write_bytes(content)


def rename(tree: Path) -> None:
    (tree / "test" / "cat" / "0.png").rename(tree / "test" / "cat" / "9.png")


def move(tree: Path) -> None:
    (tree / "train" / "cat" / "0.png").rename(tree / "train" / "dog" / "00.png")


def swap(tree: Path) -> None:
    first, second = tree / "test" / "cat" / "0.png", tree / "test" / "newt" / "0.png"
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])


def remove(tree: Path) -> None:
    (tree / "test" / "cat" / "0.png").unlink()


def add(tree: Path) -> None:
    picture(99).save(tree / "test" / "cat" / "99.png")


@pytest.mark.parametrize("change", [change_content, rename, move, swap, remove, add])
def test_any_change_of_the_images_is_other_data(tree, change):
    before = folder(tree).fingerprint
    change(tree)
    assert folder(tree).fingerprint != before


def test_files_that_are_no_images_do_not_count(tree):
    before = folder(tree).fingerprint
    (tree / "train" / "cat" / "notes.txt").write_text("changed")
    assert folder(tree).fingerprint == before


def test_a_plan_imports_no_torch_and_no_image_library(tree):
    script = (
        "import sys; from robuststack.plugin.registry import Registry;"
        f"one = Registry().create('dataset', 'folder', {{'path': {str(tree)!r}}});"
        "one.resolved(), one.shape, one.num_classes, one.size('train');"
        "print([name for name in ('torch', 'torchvision', 'PIL', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_link_back_up_is_not_followed(tree):
    before = folder(tree)
    sizes = before.size("test"), before.fingerprint
    (tree / "test" / "cat" / "loop").symlink_to(".")
    (tree / "test" / "dog" / "more" / "up").symlink_to("..")
    after = folder(tree)
    assert (after.size("test"), after.fingerprint) == sizes
    assert any("loop" in note for note in after.notes)


def test_the_test_images_may_lie_in_a_folder_of_another_name(tree):
    (tree / "test").rename(tree / "val")
    data = folder(tree, test="val")
    assert (data.size("test"), data.size("train") + data.size("validation")) == (6, 17)
    assert data.size("validation") > 0, "validation is held out of train, not read from val"
    (tree / "val").rename(tree / "held out")
    assert folder(tree, test="held out").size("test") == 6


# What is refused


def refused(path: Path | str) -> str:
    """The error of making a plan."""
    dataset = folder(path)
    with pytest.raises(DatasetError) as error:
        _ = dataset.num_classes, dataset.size("train"), dataset.fingerprint
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_path_that_is_not_given_is_asked_for():
    assert refused("") == "dataset 'folder': option 'path' is not given; it says where your data is"


def test_test_images_must_be_there(tree):
    shutil.rmtree(tree / "test")
    assert refused(tree) == (
        f"dataset 'folder', {tree}: there is no folder test: it holds train; expected train and test, with one folder a"
        " class in each"
    )


def test_test_images_alone_score_finished_models(tree):
    shutil.rmtree(tree / "train")
    dataset = folder(tree)
    assert [dataset.size(split) for split in ("train", "validation", "test")] == [0, 0, 6]
    assert dataset.training_problem() == "has no train images; it can only score finished models"
    assert sorted(loaded(dataset.load(tree)["test"])) == sorted(listed(tree / "test"))


@pytest.mark.parametrize(("there", "absent"), [("train", "test"), ("test", "train")])
def test_both_parts_must_have_the_same_classes(tree, there, absent):
    shutil.rmtree(tree / absent / "dog")
    assert refused(tree) == f"dataset 'folder', {tree}: class 'dog' is in {there}, but not in {absent}"


def test_one_class_is_none(tree):
    for part in ("train", "test"):
        for name in ("dog", "newt"):
            shutil.rmtree(tree / part / name)
    assert refused(tree) == f"dataset 'folder', {tree}: train has 1 folder of classes; at least 2 are needed"


@pytest.mark.parametrize(
    ("part", "kept", "problem"),
    [
        ("train/newt", 1, "at least 2 are needed (one trains, one validates)"),
        ("test/dog", 0, "at least 1 is needed"),
    ],
)
def test_a_class_needs_images(tree, part, kept, problem):
    for path in sorted(file for file in (tree / part).rglob("*") if file.is_file())[kept:]:
        if path.suffix != ".txt":
            path.unlink()
    extensions = ".bmp, .gif, .jfif, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff, .webp"
    assert (
        refused(tree)
        == f"dataset 'folder', {tree}: {part} has {kept} image{'s' * (kept != 1)} ({extensions}); {problem}"
    )


def test_a_file_that_cannot_be_read_is_named(tree):
    (tree / "train" / "cat" / "a.png").symlink_to(tree / "gone.png")
    assert refused(tree).startswith(f"dataset 'folder', {tree}: train/cat/a.png: it cannot be read ([Errno 2] ")


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(path)


def floats(path: Path) -> None:
    Image.fromarray(np.full((8, 8), 0.5, dtype=np.float32)).save(path, "TIFF")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "it does not decode (OSError: "),
        (lambda path: path.write_bytes(b"<html>"), "it is no image that can be read: it is a web page"),
        (lambda path: path.write_bytes(b""), "it is no image that can be read: it is empty"),
        (sixteen_bits, "it has pixels of mode I;16; valid: 8 bits a channel"),
        (floats, "it has pixels of mode F; valid: 8 bits a channel"),
    ],
    ids=["truncated", "html", "empty", "16 bits", "floats"],
)
def test_an_image_that_does_not_decode_is_named(tree, spoil, problem):
    spoil(tree / "test" / "dog" / "0.png")
    with pytest.raises(DatasetError) as error:
        folder(tree).load(tree)
    assert str(error.value).startswith(f"dataset 'folder', {tree}: test/dog/0.png: {problem}")
    assert "\n" not in str(error.value)
