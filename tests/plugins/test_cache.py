"""A cache that is used when it is whole and right, and never otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robuststack_plugins.datasets import cache
from robuststack_plugins.datasets.cache import cached

KEY = "archive 1"


class Maker:
    """Makes the arrays, and counts how often."""

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.times = seed, 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.times += 1
        random = np.random.RandomState(self.seed)
        return {"images": random.randint(256, size=(5, 3, 4, 4)).astype(np.uint8), "labels": np.arange(5)}


def same(arrays: dict[str, np.ndarray], seed: int = 0) -> bool:
    expected = Maker(seed)()
    return arrays.keys() == expected.keys() and all(
        np.array_equal(arrays[name], array) and arrays[name].dtype == array.dtype for name, array in expected.items()
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "set.npz"


def test_the_second_time_nothing_is_made(path):
    first, again = Maker(), Maker(seed=1)
    assert same(cached(path, KEY, first))
    assert same(cached(path, KEY, again))
    assert (first.times, again.times) == (1, 0)
    assert [entry.name for entry in path.parent.iterdir()] == ["set.npz"]


def test_another_key_makes_it_anew_and_keeps_that(path):
    cached(path, KEY, Maker())
    assert same(cached(path, "archive 2", Maker(seed=1)), seed=1)
    assert same(cached(path, "archive 2", Maker(seed=2)), seed=1)


def changed(path: Path) -> None:
    """The file with one pixel changed, sound as an .npz file."""
    with np.load(path) as file:
        arrays = dict(file)
    arrays["images"][0, 0, 0, 0] ^= 1
    np.savez(path, **arrays)


def without_hash(path: Path) -> None:
    np.savez(path, **Maker()())


def relabelled(path: Path) -> None:
    """The same bytes under another type."""
    with np.load(path) as file:
        arrays = dict(file)
    arrays["labels"] = arrays["labels"].astype(np.uint64)
    np.savez(path, **arrays)


def pickled(path: Path) -> None:
    np.savez(path, images=np.array([{"a": 1}], dtype=object))


def flipped(path: Path) -> None:
    """One bit of an array's data, which the archive's checksum finds."""
    content = bytearray(path.read_bytes())
    content[content.index(Maker()()["images"].tobytes()) + 7] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("<html>"),
        changed,
        without_hash,
        relabelled,
        pickled,
        flipped,
    ],
    ids=["tail", "half", "empty", "html", "pixel", "hash", "type", "pickle", "bit"],
)
def test_a_file_that_is_not_whole_and_right_is_made_again(path, damage):
    cached(path, KEY, Maker())
    damage(path)
    again, third = Maker(), Maker()
    assert same(cached(path, KEY, again))
    assert same(cached(path, KEY, third))
    assert (again.times, third.times) == (1, 0)


def test_a_write_that_breaks_off_leaves_nothing_and_costs_nothing_else(path, monkeypatch):
    def full(file, **arrays):
        file.write(b"PK half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert same(cached(path, KEY, Maker()))
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_cannot_be_written_costs_time_and_nothing_else(tmp_path):
    maker = Maker()
    assert same(cached(tmp_path / "absent" / "set.npz", KEY, maker))
    assert maker.times == 1


def test_the_hash_covers_key_names_types_shapes_and_values():
    arrays = Maker()()
    images = arrays["images"]
    variants = [
        ("other", arrays),
        (KEY, {**arrays, "more": images}),
        (KEY, {"images": images}),
        (KEY, {**arrays, "images": images.reshape(3, 5, 4, 4)}),
        (KEY, {**arrays, "images": images.view(np.int8)}),
        (KEY, {**arrays, "images": images + 1}),
    ]
    digests = {cache._digest(key, made) for key, made in [(KEY, arrays), *variants]}
    assert len(digests) == 1 + len(variants)
