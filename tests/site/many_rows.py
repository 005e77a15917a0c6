"""A leaderboard of a size that nobody has yet: made-up figures in rows like those of a committed one."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from chromium import COMMITTED
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.entries import make_entries
from robuststack.leaderboard.row import Row

DATASETS = ("digits", "cifar10", "cifar100", "svhn", "stl10")
NETWORKS = ("resnet20", "resnet34")
KNOBS = (0.0, 0.2, 0.5, 0.7, 1.0)
DEFENSES = 40
"""Of each data set and network, ten names with four options each."""


def many_rows() -> Board:
    """2,000 rows in ten tables, 400 entries."""
    content = json.loads((COMMITTED / "float_vs_oat.json").read_text())
    rows = [Row.model_validate_json(json.dumps(row)) for row in _rows(content["rows"][0])]
    entries = [entry.model_dump(mode="json") for entry in make_entries(rows, {})]
    content |= {
        "suite": "many",
        "title": "2,000 rows",
        "training": {},
        "claims": [],
        "reference": [],
        "entries": entries,
    }
    content["rows"] = [row.model_dump(mode="json") for row in rows]
    return Board.model_validate_json(json.dumps(content))


def _rows(template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    draw = random.Random(0)
    for dataset in DATASETS:
        for network in NETWORKS:
            for number in range(DEFENSES):
                name, width = f"defense{number % 10}", number // 10
                for knob in KNOBS:
                    row = json.loads(json.dumps(template))
                    ca = 95 - 30 * knob + draw.uniform(-4, 4)
                    figures = {label: _figure(40 * knob + draw.uniform(0, 20)) for label in row["ra"]}
                    row |= {
                        "label": f"{dataset}/{network}/{name} size={width} lambda={knob}", "variant": [dataset, network],
                        "dataset": dataset, "architecture": network, "defense": name, "shown": {"size": width},
                        "options": {"size": width}, "point": {"lambda": knob}, "retrained": [], "ca": _figure(ca),
                        "ra": figures, "macs": draw.randrange(10**6, 10**9), "parameters": draw.randrange(10**5, 10**7),
                    }  # fmt: skip
                    row["nonzero_parameters"] = row["parameters"]
                    for scored in row["jobs"]["scores"].values():
                        for runs in scored.values():
                            runs |= {seeds: f"judge-{draw.randrange(16**12):012x}" for seeds in runs}
                    yield row


def _figure(value: float) -> dict[str, Any]:
    return {"value": value, "low": max(value - 3, 0.0), "high": min(value + 3, 100.0), "interval": "wilson"}
