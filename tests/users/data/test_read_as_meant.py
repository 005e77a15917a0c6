"""Data as users bring it, through the real command: the right figure for each kind. Images are of one brightness, which
says their class, and the models read it: whatever is read otherwise than meant changes clean accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from made_data import (
    arrays,
    as_bytes,
    binary,
    class_file,
    classes_folder,
    evaluated,
    fewer_classes,
    flat,
    gif,
    in_mode,
    junk,
    levels,
    linked,
    masks,
    npz,
    one_bit_above,
    only_tests,
    other_files,
    picture,
    repeated_images,
    scaled,
    see_through,
    sorted_by_class,
    trained_on,
    turned,
    with_labels,
    written,
    zipped,
)


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
    *(Right(f"image files: {kind}", lambda save=save: classes_folder(["a", "b", "c", "d"], save), "four", row={"n": 8})
      for kind, save in {
          "WebP": written(".webp", lossless=True),
          "WebP of several frames": written(".webp", lossless=True, save_all=True, append_images=[picture(0.99)]),
          "animated PNG": written(".png", save_all=True, append_images=[picture(0.99)]),
          "TIFF of several pages": written(".tiff", save_all=True, append_images=[picture(0.99)]),
          "JPEG of CMYK": written(".jpg", mode="CMYK", quality=100),
          "a palette with a transparent colour": see_through,
          "a link": linked,
          "another ending in capitals": written(".PNG"),
      }.items()),
    Right("image files of one pixel", lambda: classes_folder(["a", "b", "c", "d"], written(".bmp")).replace("=8", "=1"), "four"),
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
    Right("arrays in another order", lambda: zipped(("y_test.npy", arrays()[1]), ("x_test.npy", arrays()[0])), "four"),
    Right("arrays without .npy", lambda: zipped(("x_test", arrays()[0]), ("y_test", arrays()[1])), "four"),
    Right("big-endian floats and labels", lambda: npz(x_test=flat(levels(4)[1]).astype(">f4"), y_test=arrays()[1].astype(">i2")),
          "four"),
    Right("labels as uint64", lambda: with_labels(lambda labels: labels.astype(np.uint64)), "four"),
    Right("labels as int8", lambda: with_labels(lambda labels: labels.astype(np.int8)), "four"),
    Right("images of one pixel", lambda: only_tests(4, shape=(1, 1, 1)), "four"),
    Right("images of one pixel in colour", lambda: only_tests(4, shape=(3, 1, 1)) + " layout=nchw", "four"),
    Right("a masked array", lambda: npz(x_test=np.ma.masked_array(arrays()[0]), y_test=arrays()[1]), "four"),
    Right("extended precision", scaled(1, np.longdouble), "four"),
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
    printed = [line for line in lines if not line.startswith("robuststack: suspicious: ")]
    assert all(line.startswith("robuststack: note: ") for line in printed)
    assert len(printed) == len(row["dataset_notes"]), "each note is printed once"
