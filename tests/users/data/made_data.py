"""Files of data as users bring them, and the command that scores a model on them."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robuststack.cli import call


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


def sixteen_bit_colours(image: Image.Image, path: Path) -> None:
    """A PNG file that Pillow would decode to 8 bits."""
    pixels = np.asarray(image).astype(">u2") * 257

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", image.width, image.height, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def written(kind: str, **options: Any) -> Callable[[Image.Image, Path], None]:
    """Saves an image as a file of another kind; `mode` is that of its pixels."""
    mode = options.pop("mode", "RGB")

    def save(image: Image.Image, path: Path) -> None:
        image.convert(mode).save(path.with_suffix(kind), **options)

    return save


def see_through(image: Image.Image, path: Path) -> None:
    """A palette with one transparent colour: all of the image."""
    image.convert("P").save(path, transparency=0)


def content(text: bytes) -> Callable[[Image.Image, Path], None]:
    """Writes something that is no image under an image's name."""
    return lambda image, path: (path.write_bytes(text), None)[1]


def linked(image: Image.Image, path: Path) -> None:
    Path("elsewhere").mkdir(exist_ok=True)
    place = Path("elsewhere", f"{path.parent.name}.png").absolute()
    image.save(place)
    path.symlink_to(place)


def labels_in_a_table() -> str:
    """Images in one folder, and a table that labels them."""
    classes_folder(["a", "b"])
    for number, path in enumerate(sorted(Path("mine/test").rglob("*.png"))):
        path.rename(f"mine/test/{number}.png")
    for folder in "ab":
        Path("mine/test", folder).rmdir()
    Path("mine/test/labels.csv").write_text("0.png,a\n")
    return "folder path=mine size=8"


def moved(place: str) -> str:
    """The folder of test images under another name."""
    dataset = classes_folder(["a", "b"])
    Path("mine/test").rename(place)
    return dataset


def zipped(*members: tuple[str, np.ndarray]) -> str:
    """An .npz file whose arrays have these names in the archive."""
    with zipfile.ZipFile("mine.npz", "w") as archive:
        for name, values in members:
            part = io.BytesIO()
            np.save(part, values)
            archive.writestr(name, part.getvalue())
    return "npz path=mine.npz"


def arrays() -> tuple[np.ndarray, np.ndarray]:
    """Images of four classes, uint8 [12, 3, 8, 8], and their labels."""
    labels, brightness = levels(4)
    return as_bytes(flat(brightness)), labels


def other_file(text: bytes) -> str:
    Path("mine.npz").write_bytes(text)
    return "npz path=mine.npz"


def cut_off() -> str:
    dataset = only_tests(4)
    Path("mine.npz").write_bytes(Path("mine.npz").read_bytes()[:900])
    return dataset


def objects(values: np.ndarray) -> np.ndarray:
    """An array of Python objects, one for each image or label."""
    made = np.empty(len(values), object)
    made[:] = list(values)
    return made


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
