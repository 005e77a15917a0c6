"""README: its tables are the committed leaderboard's, its suite and its module are real."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from tabulate import tabulate

import robuststack as rs
from robuststack.hardware import Hardware
from robuststack.leaderboard.audit import RowAudit
from robuststack.leaderboard.audit_file import audit_path, board_files, read_audit
from robuststack.leaderboard.board_file import read_board
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite
from robuststack.wording import options_text

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


SETTINGS = {
    "float": [{"lambda_n": value, "lambda_th": 0.0} for value in (0.0, 0.2, 1.0)],
    "oat": [{"lambda": value} for value in (0.0, 0.2, 1.0)],
    "pgd_at": [{"lambda": value} for value in (0.0, 0.2, 1.0)],
}
"""The rows of the main leaderboard that README prints."""
DATASETS = ("tradeoff", "digits")


BOARD = ROOT / "leaderboard" / "float_vs_oat.json"


def table() -> str:
    """The ends of each defense and one setting between them, both data sets side by side."""
    rows = read_board(BOARD).rows
    audited = read_audit(audit_path(BOARD)).by_label
    body = []
    for defense, points in SETTINGS.items():
        for point in points:
            on = [
                next(row for row in rows if (row.dataset, row.defense, row.point) == (dataset, defense, point))
                for dataset in DATASETS
            ]
            figures = [text for row in on for text in (row.ca.text, row.worst.text, audited_text(audited[row.label]))]
            body.append([on[0].title, options_text(point), *figures])
    header = ["defense", "point", *(f"{name} {dataset}" for dataset in DATASETS for name in ("CA", "RA", "audited"))]
    return tabulate(body, header, tablefmt="github", disable_numparse=True)


def audited_text(row: RowAudit) -> str:
    """RA after the audit, with the letter of its worst verdict that is no `open`."""
    assert row.ra_worst is not None
    assert not row.broken
    weak = ", weak" if row.weak else ""
    return f"{row.ra_worst.value:.1f} [{row.ra_worst.low:.1f}, {row.ra_worst.high:.1f}]{weak}"


def test_the_table_is_that_of_the_committed_leaderboard() -> None:
    match = re.search(r"<!-- table -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert match, "README has no place for the table"
    assert match[1].strip() == table(), f"the table should be:\n\n{table()}\n"


def test_what_it_says_of_the_audit_is_what_the_audit_says() -> None:
    text, audit = " ".join(README.split()), read_audit(audit_path(BOARD))
    assert [row.label for row in audit.rows] == [row.label for row in read_board(BOARD).rows]
    assert audit.complete
    weak = [row.label for row in audit.rows if row.weak]
    link = f"(leaderboard/{audit_path(BOARD).with_suffix('.md').name})"
    assert f"calls no row broken, but {len(weak)} of the {len(audit.rows)} rows [weak]{link}" in text
    assert not any(row.broken for row in audit.rows)
    assert all({"STEPS", "STRONGER"} & set(row.weak) for row in audit.rows if row.weak)
    digits = [label for label in weak if label.startswith("digits/")]
    assert f"RA of {len(digits)} of the 16 rows on `digits` is no evidence" in text
    row = audit.by_label["tradeoff/resnet8/pgd_at lambda=0.2"]
    before = next(
        row.worst.value for row in read_board(BOARD).rows if row.label == "tradeoff/resnet8/pgd_at lambda=0.2"
    )
    assert row.ra_worst is not None
    assert row.ra_worst.value == 0
    assert f"PGD-AT at lambda 0.2 on `tradeoff`: {before:.1f} % become 0." in text


def test_what_it_says_of_ten_attacks_is_what_the_comparison_says() -> None:
    rows = "digits/resnet8/pgd_at lambda=1", "digits/resnet8/float lambda_n=1 lambda_th=0"
    board = ROOT / "leaderboard" / "cpu_attacks.json"
    assert len(rs.load_board(board).attacks) == 10
    worst = rs.compare(board, *rows).decisive
    assert worst.verdict == "undecided"
    said = f"{worst.first:.1f} against {worst.second:.1f} in the worst of ten attacks"
    assert f"{said} ([audited](leaderboard/cpu_attacks.audit.md), no row weak or broken)" in " ".join(README.split())
    audit = read_audit(audit_path(board))
    assert [row.label for row in audit.rows] == [row.label for row in rs.load_board(board).rows]
    assert not any(row.broken or row.weak for row in audit.rows)
    said = []
    for dataset, knob, ahead in (
        ("digits", "0.2", 1),
        ("digits", "1", 1),
        ("tradeoff", "0.2", 1),
        ("tradeoff", "1", -1),
    ):
        pair = f"{dataset}/resnet8/float lambda_n={knob} lambda_th=0", f"{dataset}/resnet8/oat lambda={knob}"
        worst = rs.compare(board, *pair[::ahead]).decisive
        assert (worst.verdict, worst.scope) == ("better", "these two models")
        said.append(f"{worst.value:.1f} {{}}[{worst.low:.1f}, {worst.high:.1f}]")
    tradeoff = [row for row in rs.load_board(board).rows if row.dataset == "tradeoff"]
    (best,) = {f"{max(row.worst.value for row in tradeoff if row.defense == name):.1f}" for name in ("float", "oat")}
    assert f"their most robust points there are alike ({best} each)" in " ".join(README.split())
    told = (
        "On `digits` FLOAT is ahead of OAT by {} at lambda 0.2 and by {} at 1; on `tradeoff` FLOAT by {} at 0.2 and OAT"
        " by {} at 1"
    )
    assert told.format(said[0].format("points of RA "), *(one.format("") for one in said[1:])) in " ".join(
        README.split()
    )


def test_what_it_says_of_three_training_seeds_is_what_the_comparison_says() -> None:
    board = ROOT / "leaderboard" / "cpu_fig07.json"
    decided = {}
    for dataset in ("tradeoff", "digits"):
        for knob in ("0", "0.2", "0.7", "1"):
            rows = f"{dataset}/resnet8/oat lambda={knob}", f"{dataset}/resnet8/float lambda_n={knob} lambda_th=0"
            clean, *_, worst = rs.compare(board, *rows).figures
            assert clean.verdict == "undecided"
            assert worst.scope == "methods"
            decided |= {(dataset, knob): worst.value} if worst.verdict != "undecided" else {}
    assert list(decided) == [("tradeoff", "0.7")]
    audit = read_audit(audit_path(board))
    assert [row.label for row in audit.rows] == [row.label for row in rs.load_board(board).rows]
    assert not any(row.broken for row in audit.rows)
    weak = sum(bool(row.weak) for row in audit.rows)
    audited = f"([{weak} of {len(audit.rows)} rows weak](leaderboard/cpu_fig07.audit.md))"
    assert f"under FGSM and PGD {audited}, it is undecided on both" in " ".join(README.split())
    assert f"at 0.7 OAT is ahead on `tradeoff` by {decided['tradeoff', '0.7']:.1f} points of RA" in " ".join(
        README.split()
    )


def test_what_it_says_of_noise_is_what_the_comparisons_say() -> None:
    """FLOAT against the same training without noise, and what the audit leaves of PNI."""
    board = ROOT / "leaderboard" / "cpu_noise.json"

    def compared(dataset: str, first: str, second: str) -> rs.RowComparison:
        return rs.compare(board, f"{dataset}/resnet8/{first}", f"{dataset}/resnet8/{second}")

    for dataset in ("digits", "tradeoff"):
        for noisy, plain in (("0", "0"), ("1", "1")):
            row = f"float lambda_n={noisy} lambda_th=0"
            assert compared(dataset, row, f"advprop lambda={plain}").verdict == "undecided"
    text, audit = " ".join(README.split()), read_audit(audit_path(board))
    assert audit.complete
    assert not any(row.broken for row in audit.rows)
    weak = sum(bool(row.weak) for row in audit.rows)
    assert f"([{weak} of {len(audit.rows)} rows weak](leaderboard/cpu_noise.audit.md))" in text
    rows = [audit.by_label[f"tradeoff/resnet8/pni lambda_n={knob}"] for knob in (0, 1)]
    assert all("STRONGER" in row.weak for row in rows)
    before, after = ([figure.value for row in rows if (figure := getattr(row, name))] for name in ("ra", "ra_worst"))
    said = "of RA {:.1f} % without and {:.1f} % with its noise the audit leaves {:.1f} % and {:.1f} %."
    assert said.format(*before, *after) in text


def test_what_it_says_of_size_and_training_time_is_what_the_leaderboard_says() -> None:
    by_label = {row.label: row for row in read_board(BOARD).rows}
    sizes, times = set(), []
    for dataset in ("digits", "tradeoff"):
        ours = by_label[f"{dataset}/resnet8/float lambda_n=1 lambda_th=0"]
        theirs = by_label[f"{dataset}/resnet8/oat lambda=1"]
        assert ours.train_seconds_per_epoch is not None
        assert theirs.train_seconds_per_epoch is not None
        assert ours.recipe == theirs.recipe
        sizes.add(f"{100 * ours.parameters / theirs.parameters:.0f}")
        times.append(100 * ours.train_seconds_per_epoch / theirs.train_seconds_per_epoch)
    (size,) = sizes
    said = f"FLOAT has {size} % of OAT's parameters and {min(times):.0f} to {max(times):.0f} % of its training time."
    assert said in " ".join(README.split())


def test_its_words_stand_on_the_page_of_words() -> None:
    section = README.partition("## Words\n")[2].partition("\n## ")[0]
    words = re.findall(r"(?<!\*)\*(\w+)\*(?!\*)", section)
    page = (ROOT / "docs" / "words.md").read_text(encoding="utf-8")
    rows = {
        word.strip() for line in page.splitlines() if line.startswith("| ") for word in line.split("|")[1].split(",")
    }
    assert {"knob", "point", "draw"} <= set(words) <= rows


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_suites_it_shows_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, labels = np.zeros((20, 8, 8, 3), dtype=np.uint8), np.arange(20) % 5
    np.savez("mine.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    Path("mymodels.py").write_text("def make(): ...")
    texts = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    for text, rows in zip(texts, (1, 7), strict=True):
        Path("shown.yaml").write_text(text)
        assert len(make_plan(load_suite("shown.yaml"), Registry(), Hardware("cpu", "float32")).rows) == rows


def test_the_leaderboards_it_lists_are_the_committed_ones() -> None:
    listed = re.search(r"<!-- suites -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert listed
    names = set(re.findall(r"\[(\w+)\]\(leaderboard/\1\.md\)", listed[1]))
    assert names == {path.stem for path in board_files(ROOT / "leaderboard")}


def test_the_module_it_shows_is_the_package_in_short() -> None:
    shown = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[1]
    real = (ROOT / "plugins" / "robuststack-alp" / "robuststack_alp.py").read_text(encoding="utf-8")
    lines = [line for line in shown.splitlines() if line.strip() and "..." not in line]
    assert [line for line in lines if line not in real.splitlines()] == []
    ast.parse(shown)


def test_every_command_it_names_exists() -> None:
    from robuststack.cli import COMMANDS

    named = set(re.findall(r"`(?:robuststack )?(\w+) (?:SUITE|defense|resnet34)", README))
    assert {"run", "show", "describe", "new"} <= named <= set(COMMANDS)
    missing = [name for name in COMMANDS if not re.search(rf"`(robuststack )?{name}\b", README)]
    assert missing == []


def test_the_three_lines_score_a_live_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torch import nn

    monkeypatch.chdir(tmp_path)
    lines = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    images, labels = torch.rand(12, 3, 6, 6), torch.arange(12) % 4
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 4))
    names = {"model": model, "images": images, "labels": labels}
    exec(lines, names)
    assert names["result"].rows[0].n == 12
