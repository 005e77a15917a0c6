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

if TYPE_CHECKING:
    import numpy as np

FORMS = (
    "valid: (images, labels), which are arrays or tensors, a torch Dataset of (image, label), or the name of a dataset with"
    " its options"
)
NO_ARRAY = f"data: images or labels are no numbers, or not all of one shape; {FORMS}"


def live_arrays(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """The test images and their labels.

    `data` is a pair of arrays or tensors, or a Dataset or DataLoader of torch, whose items are pairs of an image and a
    label, or of batches of both.

    Raises:
        DatasetError: it is none of them, or images and labels are not equally many.
    """
    import numpy as np

    if isinstance(data, (tuple, list)) and len(data) == 2:
        images, labels = (_array(part) for part in data)
    elif not isinstance(data, Mapping) and (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        images, labels = _stacked(data)
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


def _stacked(data: Any) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    images, labels = [], []
    batches = hasattr(data, "batch_size") and hasattr(data, "dataset")
    for item in _items(data):
        if not isinstance(item, (tuple, list)) or len(item) < 2:
            raise DatasetError(f"data: an item of {type(data).__name__} is no pair of an image and a label; {FORMS}")
        images.append(_array(item[0]))
        labels.append(_array(item[1]))
    if not images:
        raise DatasetError(f"data: {type(data).__name__} is empty")
    if len({(image.shape[1:] if batches else image.shape) for image in images}) > 1:
        shapes = sorted({image.shape for image in images})[:2]
        raise DatasetError(f"data: images of shapes {shapes[0]} and {shapes[1]}; valid: all of one shape")
    join = np.concatenate if batches else np.stack
    return join(images), join([np.atleast_1d(label) if batches else label for label in labels]).reshape(-1)


def _items(data: Any) -> Iterator[Any]:
    # A Dataset of torch that is indexed need not end by itself when it is iterated.
    if not hasattr(data, "__iter__") and hasattr(data, "__len__"):
        return (data[index] for index in range(len(data)))
    return iter(data)


def _array(values: Any) -> np.ndarray:
    """Values as an array; a picture becomes channels, height, width."""
    import numpy as np

    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
        return np.asarray(values.numpy())
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):  # Of several shapes.
        raise DatasetError(NO_ARRAY) from None
    if type(values).__module__.startswith("PIL."):
        return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return array
