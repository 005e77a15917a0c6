"""Images of a running program, written once into a file that the dataset `npz` reads."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robuststack.errors import DatasetError
from robuststack.running.atomic_files import write_bytes
from robuststack.suite.plain_array import plain_array

if TYPE_CHECKING:
    import numpy as np

FORMS = (
    "valid: (images, labels), which are arrays or tensors; a torch Dataset or DataLoader, or a list, of such pairs or"
    " batches; a mapping that names both; or the name of a dataset with its options"
)
IMAGES = ("image", "images", "img", "x", "x_test", "test_images", "input", "inputs", "pixel_values")
LABELS = ("label", "labels", "y", "y_test", "test_labels", "target", "targets")
"""Under which of these keys mappings hold images and their labels."""
NO_ARRAY = f"data: images or labels are no numbers, or not all of one shape; {FORMS}"


def live_arrays(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """The test images and their labels.

    `data` is a pair of arrays or tensors, or a Dataset, DataLoader or anything else to iterate, whose items are pairs of an
    image and a label, or of batches of both; batches need not be equally large. A mapping with one key of `IMAGES` and one
    of `LABELS` is a pair, too.

    Raises:
        DatasetError: it is none of them, or images and labels are not equally many.
    """
    import numpy as np

    if isinstance(data, Mapping):
        images, labels = (_array(part) for part in _pair(data, type(data).__name__))
    elif isinstance(data, (tuple, list)) and len(data) == 2 and not all(_labelled(part) for part in data):
        images, labels = (_array(part) for part in data)
    elif hasattr(data, "__iter__") or hasattr(data, "__getitem__"):
        images, labels = _joined(data)
    else:
        raise DatasetError(f"data: {type(data).__name__} holds no images; {FORMS}")
    labels = _whole(_of_numbers(labels))
    if images.dtype == object or labels.dtype == object or not images.ndim or not labels.ndim:
        raise DatasetError(NO_ARRAY)
    if len(images) != len(labels):
        raise DatasetError(f"data: {len(images)} images and {len(labels)} labels")
    if not len(images):
        raise DatasetError(f"data: there is no image in it; {FORMS}")
    return np.ascontiguousarray(images), labels


def save_arrays(images: np.ndarray, labels: np.ndarray, folder: Path) -> Path:
    """A file in `folder` with these arrays as `x_test` and `y_test`, named by what it holds; it is written if it is not
    there."""
    import numpy as np

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, values in (("x_test", images), ("y_test", labels)):
            part = io.BytesIO()
            np.save(part, values, allow_pickle=False)
            # The same bytes for the same arrays: a fixed date.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), part.getvalue())
    content = buffer.getvalue()
    path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    return path


def _of_numbers(values: np.ndarray) -> np.ndarray:
    """Python's numbers as an array of NumPy's; any other array as it is."""
    import numpy as np

    if values.dtype != object:
        return values
    try:
        numbers = np.array(values.tolist())
    except (TypeError, ValueError):
        return values
    return numbers if numbers.dtype.kind in "biuf" else values


def _whole(labels: np.ndarray) -> np.ndarray:
    """Labels that are whole numbers as int64, whatever their type; others as they are, for the dataset to refuse."""
    import numpy as np

    if labels.dtype.kind not in "bf" or not (np.abs(labels.astype(np.float64)) < 2**31).all():
        return labels
    whole: np.ndarray = labels.astype(np.int64)
    return whole if np.array_equal(whole, labels) else labels


def _joined(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of all items, each of which is an image and its label, or a batch of both."""
    import numpy as np

    images, labels = [], []
    batches = getattr(data, "batch_size", None) is not None and hasattr(data, "dataset")
    for item in _items(data):
        image, label = map(_array, _pair(item, f"an item of {type(data).__name__}"))
        # An image has three axes at most; a loader's batches may have as many, if images have no axis of channels.
        batch = image.ndim > 3 or (batches and image.ndim > 0)
        images.append(image if batch else image[None])
        labels.append(label.reshape(-1))
        if len(images[-1]) != len(labels[-1]):
            raise DatasetError(
                f"data: an item of {type(data).__name__} has an image of shape {image.shape} and a label of shape"
                f" {label.shape}; valid: [C, H, W] and a number, or a batch [N, C, H, W] and numbers [N]"
            )
    if not images:
        raise DatasetError(f"data: {type(data).__name__} is empty")
    if len(shapes := sorted({part.shape[1:] for part in images})) > 1:
        raise DatasetError(f"data: images of shapes {shapes[0]} and {shapes[1]}; valid: all of one shape")
    return np.concatenate(images), np.concatenate(labels)


def _pair(item: Any, where: str) -> tuple[Any, Any]:
    """An image and its label, or a batch of both, out of a sequence that begins with them or a mapping that names them.

    Raises:
        DatasetError: it is neither.
    """
    if isinstance(item, Mapping):
        images, labels = ([key for key in keys if key in item] for keys in (IMAGES, LABELS))
        if len(images) == len(labels) == 1:
            return item[images[0]], item[labels[0]]
        raise DatasetError(
            f"data: {where} has the keys {', '.join(map(str, item)) or 'none'}; valid: one of {', '.join(IMAGES)},"
            f" and one of {', '.join(LABELS)}"
        )
    if isinstance(item, (tuple, list)) and len(item) >= 2:
        return item[0], item[1]
    raise DatasetError(f"data: {where} is no pair of an image and a label; {FORMS}")


def _labelled(item: Any) -> bool:
    """Whether it is an image, or a batch of images, with its label, and not several images or labels."""
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return _array(item[0]).ndim > 1 >= _array(item[1]).ndim
    return isinstance(item, Mapping)


def _items(data: Any) -> Iterator[Any]:
    # A Dataset of torch that is indexed need not end by itself when it is iterated.
    if not hasattr(data, "__iter__") and hasattr(data, "__len__"):
        return (data[index] for index in range(len(data)))
    return iter(data)


def _array(values: Any) -> np.ndarray:
    try:
        return plain_array(values)
    except DatasetError as error:
        raise DatasetError(f"data: images or labels {error}; {FORMS}") from None
