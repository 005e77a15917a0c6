"""What RobustBench's zoo has, read from its source: importing it takes seconds, and torch."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path


@cache
def source() -> Path | None:
    """The folder of the installed package, or None."""
    spec = importlib.util.find_spec("robustbench")
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


@cache
def entries(dataset: str) -> Mapping[str, tuple[str, ...]]:
    """The Linf models of a dataset (`cifar10`): name -> the Google Drive ids of its checkpoints, one a file.

    The zoo's module says `linf = OrderedDict([("NAME", {"model": ..., "gdrive_id": "ID"}), ...])`.
    """
    folder = source()
    if folder is None:
        return {}
    tree = ast.parse((folder / "model_zoo" / f"{dataset}.py").read_text(encoding="utf-8"))
    (table,) = (
        statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "linf"
    )
    drive_ids: dict[str, tuple[str, ...]] = {}
    for pair in ast.walk(table):
        if not (isinstance(pair, ast.Tuple) and len(pair.elts) == 2 and isinstance(pair.elts[1], ast.Dict)):
            continue
        name, facts = pair.elts
        assert isinstance(facts, ast.Dict)
        for key, value in zip(facts.keys, facts.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "gdrive_id":
                ids = ast.literal_eval(value)
                drive_ids[ast.literal_eval(name)] = tuple(ids) if isinstance(ids, list) else (ids,)
    return drive_ids
