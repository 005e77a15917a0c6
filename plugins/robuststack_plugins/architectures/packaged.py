"""What the networks of other libraries have in common: found by name, random weights, norm roles from the structure."""

from __future__ import annotations

import difflib
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import robuststack as rs
from robuststack.did_you_mean import did_you_mean

if TYPE_CHECKING:
    from torch import nn


class LibraryNetwork(rs.Architecture):
    """A classification model of an installed package, built by its name with initial weights."""

    package: ClassVar[str]
    install: ClassVar[str]
    """What to install where the package is missing, as pip takes it."""
    reserved: ClassVar[frozenset[str]]
    """The builders' arguments that are not the user's to give: the data set decides them, or they load weights."""

    class Options(rs.Options):
        model: str = rs.option("resnet18", "The model, as the library names it.")
        arguments: dict[str, bool | int | float | str] = rs.option(
            {}, "More keyword arguments of the library's builder, such as the image size of a vision transformer."
        )

    def __init__(self, options: rs.Options | None = None) -> None:
        super().__init__(options)
        if importlib.util.find_spec(self.package) is None:
            raise rs.PluginError(
                f"{self.package}:{self.options.model} needs {self.package}, which is not installed:"
                f' pip install "{self.install}"'
            )
        refused = sorted(self.reserved & self.options.arguments.keys())
        if refused:
            raise rs.PluginError(
                f"{self.package}:{self.options.model}: argument {refused[0]!r} is not yours to give: weights are random,"
                " channels and classes are the data set's"
            )

    @property
    def fingerprint(self) -> str:
        """The library's version: networks and their initialisation are its own, and change."""
        return f"{self.package} {importlib.metadata.version(self.package).partition('+')[0]}"

    def build(self, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        from robuststack.layers.roles import mark_by_structure

        known, name = self._known(), self.options.model
        if name not in known:
            near = difflib.get_close_matches(name, known)
            hint = did_you_mean(name, near) if near else f"list_models() lists the {len(known)} it has"
            raise rs.PluginError(f"{self.package} has no classification model {name!r}: {hint}")
        try:
            network = self._create(shape[0], num_classes)
        except (TypeError, ValueError) as error:
            arguments = f" with {self.options.arguments}" if self.options.arguments else ""
            raise rs.PluginError(f"{self.package} does not build {name!r}{arguments}: {error}") from None
        return mark_by_structure(network, shape)

    def _known(self) -> Sequence[str]:
        """The names of the library's classification models."""
        raise NotImplementedError

    def _create(self, channels: int, num_classes: int) -> Any:
        """The network, freshly initialised."""
        raise NotImplementedError
