"""README: its tables are the committed leaderboard's, its suite and its module are real."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from tabulate import tabulate

from robuststack.hardware import Hardware
from robuststack.leaderboard.audit import board_files
from robuststack.leaderboard.board_file import read_board
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite
from robuststack.wording import options_text

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def table(dataset: str) -> str:
    """The rows of a dataset as README prints them."""
    rows = [row for row in read_board(ROOT / "leaderboard" / "float_vs_oat.json").rows if row.dataset == dataset]
    header = ["defense", "point", "CA %", "RA worst %", "parameters", "train s/epoch"]
    body = [
        [
            row.title,
            options_text(row.point),
            row.ca.text,
            row.worst.text,
            f"{row.parameters:,}",
            f"{row.train_seconds_per_epoch:.2f}",
        ]
        for row in rows
    ]
    return tabulate(body, header, tablefmt="github", disable_numparse=True)


@pytest.mark.parametrize("dataset", ["tradeoff", "digits"])
def test_the_tables_are_those_of_the_committed_leaderboard(dataset: str) -> None:
    match = re.search(rf"<!-- table: {dataset} -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert match, f"README has no place for the table of {dataset}"
    assert match[1].strip() == table(dataset), f"the table of {dataset} should be:\n\n{table(dataset)}\n"


def test_the_suites_it_shows_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, labels = np.zeros((20, 8, 8, 3), dtype=np.uint8), np.arange(20) % 5
    np.savez("mine.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    Path("mymodels.py").write_text("def make(): ...")
    texts = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    for text, rows in zip(texts, (7, 1), strict=True):
        Path("shown.yaml").write_text(text)
        assert len(make_plan(load_suite("shown.yaml"), Registry(), Hardware("cpu", "float32")).rows) == rows


def test_the_leaderboards_it_lists_are_the_committed_ones() -> None:
    listed = re.search(r"<!-- suites -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert listed
    names = set(re.findall(r"\[(\w+)\]\(leaderboard/\1\.md\)", listed[1]))
    assert names | {"float_vs_oat"} == {path.stem for path in board_files(ROOT / "leaderboard")}


def test_the_module_it_shows_is_the_package_in_short() -> None:
    shown = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[1]
    real = (ROOT / "plugins" / "robuststack-trades" / "robuststack_trades.py").read_text(encoding="utf-8")
    lines = [line for line in shown.splitlines() if line.strip() and "..." not in line]
    assert [line for line in lines if line not in real.splitlines()] == []
    ast.parse(shown)


def test_every_command_it_names_exists() -> None:
    from robuststack.cli import COMMANDS

    named = set(re.findall(r"`(?:robuststack )?(\w+) (?:SUITE|defense|resnet34|-o)", README))
    assert {"run", "show", "describe"} <= named <= set(COMMANDS)
    assert all(f"`robuststack {name}" in README or f"`{name} " in README for name in COMMANDS)
