"""One record of run-time values a model, and views that set it for a forward pass.

A defense that is tuned at deployment has layers that depend on more than their input: which batch norm, how much noise,
which FiLM code. The model owns one `Condition` that such layers read; a `View` sets it around each forward pass. There
are no globals and no extra arguments to `forward`, so any architecture can be rewritten.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robuststack.layers.surrogate import WithSurrogate


class Condition:
    """The values that one model's conditional layers read, declared by name.

    Fields: whatever the defense declares. The shared layers know `branch` (int, or a boolean tensor [N]: which batch
    norm), `split` (int: the first so many samples take branch 0, the others branch 1), `noise` (float: scale of the
    noise), `code` (tensor [N, d] or [1, d]: FiLM's input), `width` (float: share of the channels that runs), `mix` (float:
    where between two affine sets), `ensemble` (int: draws whose probabilities are averaged) and `member` (int: which of
    them a pass is).
    """

    def __init__(self, *fields: str) -> None:
        self.fields = frozenset(fields)
        self._values: Mapping[str, Any] | None = None
        self._thread: int | None = None
        self.batch: int | None = None
        """How many images this forward pass is of; None outside a view's."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Condition:
        copy = memo[id(self)] = Condition(*self.fields)
        return copy

    def __reduce__(self) -> Any:
        return Condition, tuple(sorted(self.fields))

    def read(self, field: str) -> Any:
        """The current value of a field; None if the view gave none.

        Raises:
            RuntimeError: outside a view's forward pass.
        """
        if self._values is None:
            raise RuntimeError(
                f"this model's layers depend on {sorted(self.fields)}: call a view of it, such as"
                " defense.deploy(model, point); activation checkpointing and DataParallel run layers outside"
                " one and are not supported"
            )
        return self._values.get(field)

    @contextmanager
    def holding(self, values: Mapping[str, Any], batch: int | None = None) -> Iterator[None]:
        """Set the fields for the length of a forward pass of `batch` images and restore what was there before.

        Raises:
            RuntimeError: another thread is inside a forward pass of the same model.
        """
        thread = threading.get_ident()
        if self._thread not in (None, thread):
            raise RuntimeError(
                "another thread is inside a forward pass of this model; give each thread its own copy"
                " (DataParallel is not supported)"
            )
        before = self._values, self._thread, self.batch
        self._values, self._thread, self.batch = values, thread, batch
        try:
            yield
        finally:
            self._values, self._thread, self.batch = before

    @contextmanager
    def replacing(self, **values: Any) -> Iterator[None]:
        """Inside of a view's forward pass: set some fields for a part of it, and leave the others."""
        with self.holding({**(self._values or {}), **values}, self.batch):
            yield


class View(nn.Module):
    """A model under fixed values of its condition: images [N, C, H, W] -> logits [N, K].

    Views share the model's weights and can be used in turn. Train or eval mode belongs to the model: `view.eval()` puts
    the model into eval mode for every view.
    """

    def __init__(self, model: nn.Module, values: Mapping[str, Any] | None = None, *, stochastic: bool = False) -> None:
        super().__init__()
        self.model = model
        self.values = dict(values or {})
        self.stochastic = stochastic
        condition = getattr(model, "condition", None)
        # A network of the user's own may call something else by this name.
        self.condition: Condition | None = condition if isinstance(condition, Condition) else None
        unknown = set(self.values) - (self.condition.fields if self.condition else frozenset())
        if unknown:
            raise ValueError(f"the model's condition has no field {sorted(unknown)}")

    @property
    def training(self) -> bool:  # type: ignore[override]
        model = self.__dict__.get("_modules", {}).get("model")
        return bool(getattr(model, "training", False))  # Frozen TorchScript has no mode.

    @training.setter
    def training(self, mode: bool) -> None:
        """`nn.Module` sets its own flag here; the model's is the one that counts."""

    def forward(self, x: Tensor) -> Tensor:
        if self.condition is None:
            return self.model(x)  # type: ignore[no-any-return]
        with self.condition.holding(self.values, x.shape[0]):
            return self.model(x)  # type: ignore[no-any-return]

    def surrogate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images [N, C, H, W] -> the logits [N, K], and those that an attack takes its loss of: of a `WithSurrogate` model
        its surrogate's, otherwise the same tensor."""
        if not isinstance(self.model, WithSurrogate):
            logits = self(x)
            return logits, logits
        if self.condition is None:
            return self.model.surrogate(x)
        with self.condition.holding(self.values, x.shape[0]):
            return self.model.surrogate(x)

    def subset(self, index: Tensor) -> View:
        """The view for a batch reindexed by `index` (positions [M], or a boolean mask [N]): fields that hold one value
        a sample follow, fields that hold one value for all stay."""
        values = {
            key: value[index] if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] > 1 else value
            for key, value in self.values.items()
        }
        if values.get("split") is not None:
            # The samples that are left no longer stand in order, so each carries its branch.
            positions = index.nonzero().flatten() if index.dtype == torch.bool else index
            values["branch"], values["split"] = positions >= values["split"], None
        return View(self.model, values, stochastic=self.stochastic)


def attach(model: nn.Module, condition: Condition) -> nn.Module:
    """Make `condition` the model's own, so that views find it."""
    model.condition = condition  # type: ignore[assignment]
    return model
