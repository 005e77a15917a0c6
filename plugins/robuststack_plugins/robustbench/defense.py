"""A model of RobustBench's zoo."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import robuststack as rs
from robuststack.did_you_mean import did_you_mean
from robuststack.errors import ModelError
from robuststack.paths import data_folder
from robuststack_plugins.robustbench.zoo import entries, source

if TYPE_CHECKING:
    from torch import nn

CLASSES = {"cifar10": 10, "cifar100": 100}
SHAPE = (3, 32, 32)


class RobustBench(rs.Defense):
    """A model of RobustBench's zoo, as it is: robustbench:Engstrom2019Robustness.

    Its checkpoint is fetched from Google Drive if `models/<dataset>/<threat>/<MODEL>.pt` in the data folder is absent.
    """

    paper = "Croce et al., RobustBench: a Standardized Adversarial Robustness Benchmark, NeurIPS 2021, arXiv 2010.09670"
    trains = False

    class Options(rs.Options):
        model: str = rs.option("Engstrom2019Robustness", "The zoo's name of the model, by the component's name.")
        dataset: Literal["cifar10", "cifar100"] = rs.option("cifar10", "The dataset that the model is for.")
        threat: Literal["Linf"] = rs.option("Linf", "The threat model that it was trained against.")

    def __init__(self, options: rs.Options | None = None) -> None:
        super().__init__(options)
        name, dataset = self.options.model, self.options.dataset
        if source() is None:
            message = "needs the robustbench library: python -m pip install 'robuststack[robustbench]'"
            raise rs.PluginError(f"defense 'robustbench:{name}' {message}")
        if name not in entries(dataset):
            hint = did_you_mean(name, entries(dataset))
            raise rs.PluginError(f"RobustBench has no Linf model {name!r} for {dataset}: {hint}")

    def downloads(self) -> Sequence[rs.Download]:
        """The zoo publishes no hashes."""
        folder = f"models/{self.options.dataset}/{self.options.threat}"
        ids = entries(self.options.dataset)[self.options.model]
        # An ensemble has a file for each of its models.
        suffixes = [f"_m{index}.pt" for index in range(len(ids))] if len(ids) > 1 else [""]
        return [
            rs.Download(f"https://drive.google.com/uc?id={drive_id}", "", f"{folder}/{self.options.model}.pt{suffix}")
            for drive_id, suffix in zip(ids, suffixes, strict=True)
        ]

    @property
    def fingerprint(self) -> str:
        """The hash of the checkpoint, or the zoo's name of a model that is not there yet."""
        files = [data_folder() / download.path for download in self.downloads()]
        if not all(file.is_file() for file in files):
            return f"robustbench:{self.options.dataset}/{self.options.threat}/{self.options.model}"
        return f"sha256:{'+'.join(_hash(file, file.stat().st_mtime_ns) for file in files)}"

    def load(self, folder: Path, shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """The zoo's model with its checkpoint.

        Raises:
            ModelError: it is for other images, or its checkpoint cannot be had, read or used.
        """
        from robuststack_plugins.robustbench.loading import load

        expected = CLASSES[self.options.dataset]
        if (shape, num_classes) != (SHAPE, expected):
            raise ModelError(
                f"defense 'robustbench:{self.options.model}' knows images of {SHAPE} in {expected} classes"
                f" ({self.options.dataset}), not of {shape} in {num_classes}"
            )
        files = {folder / download.path: download.url for download in self.downloads()}
        return load(self.options.model, self.options.dataset, self.options.threat, folder / "models", files)


@cache
def _hash(file: Path, modified: int) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
