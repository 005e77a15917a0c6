"""Batches: augmentation image by image, order, and data that is not what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import robuststack as rs
from robuststack.engine import data as data_module
from robuststack.engine.data import Data, augment, load, room, training_batches
from robuststack.errors import DatasetError
from robuststack.plan.specs import ImageSelection

CPU = torch.device("cpu")


def coordinates(count: int, height: int, width: int) -> torch.Tensor:
    """Images whose pixels say where they are: row + 1 and column + 1 (the padding is 0), and the image's number."""
    rows = torch.arange(1, height + 1)[:, None].expand(height, width)
    columns = torch.arange(1, width + 1)[None].expand(height, width)
    return torch.stack(
        [torch.stack([rows, columns, torch.full_like(rows, index + 1)]) for index in range(count)]
    ).float()


def crop(image: np.ndarray, pad: int, top: int, left: int, mirrored: bool) -> np.ndarray:
    """One image, cropped and mirrored by hand."""
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
    cut = padded[:, top : top + image.shape[1], left : left + image.shape[2]]
    return cut[:, :, ::-1] if mirrored else cut


def taken(image: np.ndarray, pad: int) -> tuple[int, int, bool]:
    """Which crop an image of `coordinates` is."""
    inside = np.argwhere(image[0] > 0)
    row, column = inside[len(inside) // 2]
    neighbour = column + 1 if column + 1 < image.shape[2] and image[1, row, column + 1] > 0 else column - 1
    mirrored = bool((image[1, row, neighbour] - image[1, row, column]) * (neighbour - column) < 0)
    column_in_crop = image.shape[2] - 1 - column if mirrored else column
    return int(image[0, row, column] - 1 + pad - row), int(image[1, row, column] - 1 + pad - column_in_crop), mirrored


@settings(max_examples=30, deadline=None)
@given(
    pad=st.integers(0, 3), flip=st.booleans(), height=st.integers(5, 8), width=st.integers(5, 8), seed=st.integers(0, 9)
)
def test_every_augmented_image_is_a_crop_of_its_own_image(pad, flip, height, width, seed):
    x = coordinates(6, height, width)
    torch.manual_seed(seed)
    augmented = augment(x, rs.Augmentation(pad=pad, flip=flip))
    assert augmented.shape == x.shape
    for result, image in zip(augmented.numpy(), x.numpy(), strict=True):
        top, left, mirrored = taken(result, pad)
        assert 0 <= top <= 2 * pad
        assert 0 <= left <= 2 * pad
        assert flip or not mirrored
        np.testing.assert_array_equal(result, crop(image, pad, top, left, mirrored))


def test_every_crop_is_equally_likely():
    torch.manual_seed(0)
    pad, count = 1, 3600
    augmented = augment(coordinates(1, 6, 6).repeat(count, 1, 1, 1), rs.Augmentation(pad=pad, flip=True))
    counts: dict[tuple[int, int, bool], int] = {}
    for result in augmented.numpy():
        counts[taken(result, pad)] = counts.get(taken(result, pad), 0) + 1
    assert len(counts) == 3 * 3 * 2
    assert all(abs(times - count / 18) < 5 * (count / 18) ** 0.5 for times in counts.values())


def make(count: int = 20) -> Data:
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 3, 4, 4).contiguous()
    return Data(images, torch.arange(count))


def order(data: Data, seed: int, epoch: int, size: int = 6, augmentation: rs.Augmentation | None = None) -> list[int]:
    batches = training_batches(data, size, augmentation or rs.Augmentation(), seed, epoch)
    return [int(label) for _, y in batches for label in y]


def test_bytes_become_floats_between_zero_and_one():
    data = Data(torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1, 1), torch.zeros(3, dtype=torch.long))
    x, _ = data.batch(slice(0, 3))
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.flatten(), torch.tensor([0.0, 0.2, 1.0]))
    assert data.images.dtype == torch.uint8
    assert data.images.flatten().tolist() == [0, 51, 255]


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(6, 1, 4, 4), (6, 3, 4, 4), (6, 3, 1, 1)], ids=["gray", "colour", "pixels"])
@pytest.mark.parametrize("index", [slice(0, 6), slice(2, 4), torch.tensor([5, 0])], ids=["all", "slice", "rows"])
def test_who_writes_into_a_batch_does_not_change_the_data(kind, shape, index):
    data = Data(torch.randint(2, shape).to(kind), torch.arange(6))
    before = data.images.clone(), data.labels.clone()
    x, y = data.batch(index)
    x.sub_(0.5)
    y.add_(1)
    assert torch.equal(data.images, before[0])
    assert torch.equal(data.labels, before[1])


def test_chosen_images_come_with_their_labels():
    data = Data(torch.arange(20, dtype=torch.uint8).reshape(20, 1, 1, 1), torch.arange(20) // 10)
    labels = data.labels.numpy()
    few = data.at(ImageSelection(split="test", limit=4, rule="stratified").rows(labels))
    assert few.labels.tolist() == [0, 0, 1, 1]
    rows = few.images.flatten().tolist()
    assert rows == sorted(rows)
    assert [row // 10 for row in rows] == few.labels.tolist()
    first = data.at(ImageSelection(split="test", limit=4, rule="first").rows(labels))
    assert first.images.flatten().tolist() == [0, 1, 2, 3]
    assert data.at(ImageSelection(split="test").rows(labels)) is data
    assert data.at(ImageSelection(split="test", limit=20, rule="stratified").rows(labels)) is data


def test_batches_cover_everything_in_order():
    sizes, labels = zip(*[(len(x), y.tolist()) for x, y in make().batches(8)], strict=True)
    assert sizes == (8, 8, 4)
    assert [label for batch in labels for label in batch] == list(range(20))


def test_an_epoch_drops_the_last_partial_batch_and_repeats_nothing():
    seen = order(make(), 0, 0)
    assert len(seen) == 18
    assert len(set(seen)) == 18


def test_images_keep_their_labels():
    for x, y in training_batches(make(), 6, rs.Augmentation(flip=True), 0, 0):
        torch.testing.assert_close(x[:, 0, 0, 0] * 255, y.float())


def test_epochs_and_seeds_have_orders_of_their_own_and_the_same_seed_the_same():
    data = make()
    orders = [order(data, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(labels) for labels in orders}) == 4
    assert order(data, 0, 1) == orders[1]


def test_the_caller_cannot_disturb_order_or_augmentation():
    data, augmentation = Data(coordinates(8, 6, 6) / 255, torch.arange(8)), rs.Augmentation(pad=2, flip=True)
    epochs = []
    for noise in (0, 1):
        torch.manual_seed(noise)
        epochs.append([x for x, _ in training_batches(data, 4, augmentation, 0, 0)])
    assert all(torch.equal(a, b) for a, b in zip(*epochs, strict=True))
    assert not torch.equal(*epochs[0])
    other = [x for x, _ in training_batches(data, 4, augmentation, 0, 1)]
    assert not torch.equal(epochs[0][0], other[0])


def test_augmentation_leaves_the_data_alone():
    data = Data(coordinates(8, 6, 6) / 255, torch.arange(8))
    before = data.images.clone()
    list(training_batches(data, 4, rs.Augmentation(pad=2, flip=True), 0, 0))
    assert torch.equal(data.images, before)


class Given(rs.Dataset):
    """A dataset of whatever a test puts into it."""

    name = "given"
    shape = (1, 4, 4)
    num_classes = 3
    images = np.zeros((6, 1, 4, 4), dtype=np.float32)
    labels = np.arange(6) % 3

    def size(self, split: rs.Split) -> int:
        return 6

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        return {"train": rs.Images(self.images, self.labels)}


def given_with(**changes: object) -> Given:
    dataset = Given()
    for name, value in changes.items():
        setattr(dataset, name, value)
    return dataset


def test_good_data_is_placed_as_it_is(tmp_path):
    images = np.random.RandomState(0).randint(0, 256, (6, 1, 4, 4)).astype(np.uint8)
    data = load(given_with(images=images, labels=np.arange(6, dtype=np.int32) % 3), tmp_path, CPU)["train"]
    assert data.images.numpy().tolist() == images.tolist()
    assert data.labels.dtype == torch.int64


ELSEWHERE = torch.device("meta")
"""A device that is not the host's memory, on every machine."""
SIZE = 6 * 4 * 4
"""Bytes of the images of `Given`, as bytes."""


def bytes_of_given() -> Given:
    return given_with(images=np.random.RandomState(0).randint(256, size=(6, 1, 4, 4)).astype(np.uint8))


@pytest.mark.parametrize(("budget", "place"), [(SIZE, ELSEWHERE), (SIZE - 1, CPU), (0, CPU)])
def test_images_lie_on_the_device_where_there_is_room_and_labels_always(tmp_path, monkeypatch, budget, place):
    monkeypatch.setattr(data_module, "room", lambda device: budget)
    data = load(bytes_of_given(), tmp_path, ELSEWHERE)["train"]
    assert (data.images.device, data.labels.device) == (place, ELSEWHERE)


def test_the_splits_share_the_room(tmp_path, monkeypatch):
    dataset = bytes_of_given()
    twice = {split: rs.Images(dataset.images, dataset.labels) for split in ("train", "test")}
    monkeypatch.setattr(dataset, "load", lambda folder: twice)
    for budget, place in ((2 * SIZE, ELSEWHERE), (2 * SIZE - 1, CPU)):
        monkeypatch.setattr(data_module, "room", lambda device, budget=budget: budget)
        assert {part.images.device for part in load(dataset, tmp_path, ELSEWHERE).values()} == {place}


@pytest.mark.parametrize("index", [slice(1, 3), torch.tensor([2, 0])], ids=["slice", "rows"])
def test_batches_of_images_in_host_memory_come_to_the_device(tmp_path, monkeypatch, index):
    monkeypatch.setattr(data_module, "room", lambda device: 0)
    x, y = load(bytes_of_given(), tmp_path, ELSEWHERE)["train"].batch(index)
    assert (x.device, y.device) == (ELSEWHERE, ELSEWHERE)
    assert (x.shape, y.shape) == ((2, 1, 4, 4), (2,))


def test_batches_are_the_same_wherever_the_images_lie(tmp_path, monkeypatch):
    seen = []
    for budget in (0, SIZE):
        monkeypatch.setattr(data_module, "room", lambda device, budget=budget: budget)
        data = load(bytes_of_given(), tmp_path, CPU)["train"]
        seen.append([*training_batches(data, 2, rs.Augmentation(pad=1, flip=True), 0, 0), *data.batches(4)])
    for first, second in zip(*seen, strict=True):
        assert all(torch.equal(batch, other) for batch, other in zip(first, second, strict=True))


def test_a_third_of_a_gpus_free_memory_is_for_images(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (900, 1000))
    assert room(torch.device("cuda")) == 300
    assert room(CPU) == float("inf")


def test_values_within_rounding_of_the_range_are_clipped(tmp_path):
    images = np.linspace(0, 1, 6 * 16, dtype=np.float32).reshape(6, 1, 4, 4)
    images[0, 0, 0, 0], images[5, 0, 3, 3] = -9e-7, 1 + 9e-7
    data = load(given_with(images=images), tmp_path, CPU)["train"]
    assert torch.equal(data.images, torch.from_numpy(images).clamp(0, 1))


def test_nearly_black_images_can_be_declared(tmp_path):
    for images in (np.eye(4, dtype=np.uint8), np.eye(4, dtype=np.float32) / 255):
        dataset = given_with(images=np.broadcast_to(images, (6, 1, 4, 4)).copy(), nearly_black=True)
        assert load(dataset, tmp_path, CPU)["train"].images.max() == images.max()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.ones((6, 1, 4, 4), np.uint8)}, "bytes of 0 and 1 only, and 255 is white: either"),
        ({"images": np.full((6, 1, 4, 4), 1 / 255, np.float32)}, "values reach 0.003.* only, and 1 is white: either"),
        ({"images": np.full((6, 1, 4, 4), 255, np.float32)}, "these look like 0 to 255: divide them by 255"),
        ({"images": np.full((6, 1, 4, 4), 1 + 2e-6, np.float32)}, r"to 1\.000002; models .*\(these end 2e-06 outside"),
        ({"images": np.full((6, 1, 4, 4), 1.5, np.float32)}, r"values from 1\.5 to 1\.5; models take \[0, 1\]"),
        ({"images": np.full((6, 1, 4, 4), -0.1, np.float32)}, r"values from -0\.1 to -0\.1"),
        ({"images": np.full((6, 1, 4, 4), np.nan, np.float32)}, "image 0 holds NaN or infinity"),
        ({"images": np.zeros((6, 1, 4, 4))}, r"images are float64; valid: uint8 \(0 to 255\) or float32 \(0 to 1\)"),
        ({"images": np.zeros((6, 4, 4, 1), np.float32)}, r"shape \(4, 4, 1\), the dataset declares \(1, 4, 4\)"),
        ({"images": np.zeros((5, 1, 4, 4), np.float32)}, "5 images and 6 labels, the dataset declares 6"),
        (
            {"images": np.zeros((5, 1, 4, 4), np.float32), "labels": np.arange(5) % 3},
            "5 images and 5 labels, the dataset declares 6",
        ),
        ({"labels": np.arange(6)}, "labels from 0 to 5; 3 classes are declared"),
        ({"labels": np.arange(6) % 3 - 1}, "labels from -1 to 1; 3 classes are declared"),
    ],
)
def test_data_that_is_not_what_it_says_is_refused(tmp_path, changes, message):
    with pytest.raises(DatasetError, match=message) as error:
        load(given_with(**changes), tmp_path, CPU)
    assert str(error.value).startswith("dataset 'given', split train: ")


class Careless(Given):
    """Its own code fails, a line below `load`, or gives what is no split."""

    given: object = None

    def load(self, folder: Path) -> dict[rs.Split, rs.Images]:
        return self.given if self.given is not None else self._read(folder)

    def _read(self, folder: Path) -> dict[rs.Split, rs.Images]:
        with np.load(folder / "absent.npz") as arrays:
            return {"train": rs.Images(arrays["x"], arrays["y"])}


def test_a_dataset_whose_own_code_fails_is_one_line_that_says_where(tmp_path):
    line = next(
        number for number, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "absent.npz" in text
    )
    with pytest.raises(DatasetError) as error:
        load(Careless(), tmp_path, CPU)
    assert str(error.value) == (
        f"dataset 'given' cannot be read: FileNotFoundError: [Errno 2] No such file or directory:"
        f" '{tmp_path}/absent.npz' (test_data.py, line {line})"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1, 2], "load gives no dictionary of splits, each with its `rs.Images`"),
        ({"train": (1, 2)}, "load gives no dictionary of splits, each with its `rs.Images`"),
        (
            {"train": rs.Images(torch.zeros(6, 1, 4, 4), np.arange(6) % 3)},
            ", split train: images or labels are of type Tensor; valid: NumPy arrays",
        ),
        (
            {"train": rs.Images(np.zeros((6, 1, 4, 4), np.uint8), [0] * 6)},
            ", split train: images or labels are of type list",
        ),
    ],
)
def test_a_dataset_that_gives_something_else_is_one_line(tmp_path, given, message):
    dataset = Careless()
    dataset.given = given
    with pytest.raises(DatasetError) as error:
        load(dataset, tmp_path, CPU)
    assert message in str(error.value)
