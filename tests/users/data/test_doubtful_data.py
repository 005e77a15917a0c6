"""Data that is no data set, or could be read in two ways: one line before any compute."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from made_data import (
    a_little_above,
    arrays,
    binary,
    classes_folder,
    content,
    cut_off,
    evaluated,
    labels_in_a_table,
    masks,
    moved,
    npz,
    objects,
    only_tests,
    other_file,
    scaled,
    sixteen_bit_colours,
    sixteen_bits,
    trained_on,
    truncated,
    with_labels,
    with_nan,
    zipped,
)

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


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
    Refused("arrays of other names", lambda: npz(images=arrays()[0], labels=arrays()[1]),
            "there is no array x_test: it holds images, labels; expected x_test, y_test"),
    Refused("an array twice", lambda: zipped(("x_test", arrays()[0]), ("y_test", arrays()[1]), ("y_test.npy", arrays()[1])),
            "there are two arrays y_test"),
    Refused("objects as images", lambda: npz(x_test=objects(arrays()[0]), y_test=arrays()[1]), "x_test is of type object"),
    Refused("objects as labels", lambda: with_labels(objects), "y_test is of type object and shape"),
    Refused("complex images", lambda: only_tests(4, lambda images: images.astype(complex)), "x_test is of type complex128"),
    Refused("labels in a row", lambda: with_labels(lambda labels: labels[None]), r"y.reshape\(-1\) gives them"),
    Refused("labels beyond int64", lambda: with_labels(lambda labels: labels.astype(np.uint64) + 2**63), "are no labels"),
    Refused("negative labels of bytes", lambda: with_labels(lambda labels: labels.astype(np.int8) - 3), "go from -3 to 0"),
    Refused("infinity in an image", lambda: only_tests(4, lambda images: images / (images < 0.8)),
            "image 9 holds NaN or infinity"),
    *(Refused(f"in place of .npz: {kind}", lambda text=text: other_file(text), f"it cannot be read as an .npz file: it is {kind}")
      for kind, text in {
          "a pointer of Git LFS": POINTER, "empty": b"", "compressed by gzip: unpack it": b"\x1f\x8b\x08\0",
          "an HDF5 file": b"\x89HDF\r\n\x1a\n", "a pickle file": b"\x80\x04\x95", "a text file": b"file,label\n",
          "an .npy file": b"\x93NUMPY\x01\0",
      }.items()),
    Refused("an .npz file that is cut off", cut_off, "cannot be read as an .npz file: it is cut off"),
    Refused("no .npz file", lambda: "npz path=gone.npz", "cannot be read as an .npz file: No such file"),
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
    Refused("colours of 16 bits", lambda: classes_folder(["a", "b"], sixteen_bit_colours),
            "test/a/0.png: it has pixels of mode RGB;16; valid: 8 bits a channel"),
    *(Refused(f"under an image's name: {kind}", lambda text=text: classes_folder(["a", "b"], content(text)),
              f"test/a/0.png: it is no image that can be read: it is {kind}")
      for kind, text in {
          "a pointer of Git LFS": POINTER, "a web page": b"<!DOCTYPE html><html>Sign in</html>", "empty": b"",
          "a text file": b"404: Not Found",
      }.items()),
    Refused("labels in a table", labels_in_a_table,
            "test has 0 folders of classes; at least 2 are needed; test/0.png, test/1.png, test/2.png and 2 more lie in no"
            " class's folder"),
    Refused("the folder of classes itself", lambda: classes_folder(["a", "b"]).replace("mine", "mine/test"),
            "there is no folder test: it holds a, b; expected train and test"),
    Refused("a folder of another name", lambda: moved("mine/Testing"), "there is no folder test: it holds Testing;"),
    Refused("a file in place of a folder", lambda: other_file(POINTER).replace("npz ", "folder "), "it is a file; expected"),
    Refused("a place that is not there", lambda: "folder path=gone size=8", "there is no such place; expected train and"),
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
