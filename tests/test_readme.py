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
from robuststack.leaderboard.claims import audited_verdict
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


BOARD = ROOT / "leaderboard" / "float_vs_oat.json"
FASHION = ROOT / "leaderboard" / "fashion.json"
AUTOATTACK = "AutoAttack-rand iterations=50 draws=10"
TEXT = " ".join(README.split())


def table() -> str:
    """Each defense on Fashion-MNIST: its most accurate and its most robust setting, and what all of them are worth."""
    board, audited = read_board(FASHION), read_audit(audit_path(FASHION)).by_label
    body = []
    for entry in sorted(board.entries, key=lambda entry: -entry.hypervolume):
        rows = [row for row in board.rows if row.defense == entry.defense]
        clean, robust = (max(rows, key=key) for key in (lambda row: row.ca.value, lambda row: row.worst.value))
        assert entry.certainty is not None
        volume = f"{entry.hypervolume:.1f} [{entry.certainty.low:.1f}, {entry.certainty.high:.1f}]"
        figures = [f"{clean.ca.value:.1f}, {clean.worst.value:.1f}", f"{robust.ca.value:.1f}, {interval(robust.worst)}"]
        parameters = f"{min(row.parameters for row in rows) / 1000:.0f}"
        most = max(row.parameters for row in rows) / 1000
        parameters += f"-{most:.0f}" if f"{most:.0f}" != parameters else ""
        body.append([robust.title, *figures, audited_text(audited[robust.label]), volume, parameters])
    header = [
        "defense",
        "most accurate: CA, RA",
        "most robust: CA, RA",
        "audited RA",
        "hypervolume %",
        "1,000 parameters",
    ]
    return tabulate(body, header, tablefmt="github", disable_numparse=True)


def interval(figure: rs.Figure) -> str:
    return f"{figure.value:.1f} [{figure.low:.1f}, {figure.high:.1f}]"


def audited_text(row: RowAudit) -> str:
    """RA after the audit, with the letter of its worst verdict that is no `open`."""
    assert row.ra_worst is not None
    said = ", broken" if row.broken else ", weak" if row.weak else ""
    return f"{row.ra_worst.value:.1f} [{row.ra_worst.low:.1f}, {row.ra_worst.high:.1f}]{said}"


def test_the_table_is_that_of_the_committed_leaderboard() -> None:
    match = re.search(r"<!-- table -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert match, "README has no place for the table"
    assert match[1].strip() == table(), f"the table should be:\n\n{table()}\n"


def test_what_it_says_of_fashion_is_what_the_comparisons_say() -> None:
    def compared(first: str, second: str) -> rs.RowComparison:
        return rs.compare(FASHION, f"fashion_mnist/resnet8/{first}", f"fashion_mnist/resnet8/{second}")

    noisy = "float lambda_n=0.2 lambda_th=0"
    for first, second in ((noisy, "advprop lambda=1"), (noisy, "pgd_at"), ("advprop lambda=1", "pgd_at")):
        assert compared(first, second).verdict == "undecided"
    board = read_board(FASHION)
    rows = {row.label.partition("/resnet8/")[2]: row for row in board.rows}
    assert (rows["logit_mix alpha=1"].ca, rows["logit_mix alpha=1"].worst) == (rows["pgd_at"].ca, rows["pgd_at"].worst)
    fronts = compared(noisy, "oat lambda=0.2").fronts
    assert fronts is not None
    gap, size = fronts.hypervolume, rows[noisy].parameters / rows["oat lambda=0.2"].parameters
    said = f"FLOAT's hypervolume is above OAT's by {gap.value:.1f} points [{gap.low:.1f}, {gap.high:.1f}],"
    assert f"{said} with {100 * size:.0f} % of the parameters" in TEXT
    verdicts = {claim.claim.partition(", at most")[0]: claim for claim in board.claims}
    audits = read_audit(audit_path(FASHION)).by_label
    texts = []
    for claim in ("RA of FLOAT above OAT", "CA of FLOAT above OAT"):
        ours = verdicts[claim].ours
        assert ours is not None
        assert audited_verdict(verdicts[claim], audits).startswith("confirmed")
        texts.append(f"{ours.value:.1f} {{}}[{ours.low:.1f}, {ours.high:.1f}]")
    told = (
        f"Its published lead over OAT in RA ({texts[0].format('points ')}) and CA ({texts[1].format('')}) is confirmed;"
    )
    assert told in TEXT
    claim = verdicts["RA of FLOAT above PGD-AT"]
    assert claim.verdict == "undecided"
    assert max(rows[label].worst.value for label in ("float lambda_n=0 lambda_th=0", "none")) <= 0.1
    assert f"that over PGD-AT at lambda 0 ({claim.published:.1f} points of RA) is not seen: neither leaves more" in TEXT


def test_what_it_says_of_knobs_is_what_the_rows_say() -> None:
    board = read_board(FASHION)
    for defense in ("float", "oat", "advprop", "adapter_soup", "logit_mix"):
        robust = [row.worst.value for row in board.rows if row.defense == defense]
        assert all(value < 5 or value > 0.95 * max(robust) for value in robust)
    (mixed,) = (row for row in board.rows if row.point == {"alpha": 0.5})
    pgd, autoattack = mixed.ra["PGD-20"].value, mixed.ra[AUTOATTACK].value
    assert f"of two mixed networks it leaves {autoattack:.1f} %, where PGD-20 leaves {pgd:.1f} %." in TEXT
    (soup,) = (row for row in board.rows if row.defense == "adapter_soup" and row.point == {"lambda": 0})
    assert soup.options["statistics"] == "shared"
    assert f"falls apart: CA is {soup.ca.lowest:.1f} to {soup.ca.highest:.1f} % at lambda 0." in TEXT


def test_what_it_says_of_the_audit_is_what_the_audit_says() -> None:
    audit = read_audit(audit_path(BOARD))
    assert [row.label for row in audit.rows] == [row.label for row in read_board(BOARD).rows]
    assert audit.complete
    weak = [row.label for row in audit.rows if row.weak]
    link = f"(leaderboard/{audit_path(BOARD).with_suffix('.md').name})"
    assert f"calls no row broken, but {len(weak)} of the {len(audit.rows)} rows [weak]{link}" in TEXT
    assert not any(row.broken for row in audit.rows)
    assert all({"STEPS", "STRONGER"} & set(row.weak) for row in audit.rows if row.weak)
    row = audit.by_label["tradeoff/resnet8/pgd_at lambda=0.2"]
    before = next(
        row.worst.value for row in read_board(BOARD).rows if row.label == "tradeoff/resnet8/pgd_at lambda=0.2"
    )
    assert row.ra_worst is not None
    assert row.ra_worst.value == 0
    assert f"PGD-AT at lambda 0.2 on `tradeoff`: {before:.1f} % become 0." in TEXT
    fashion = read_audit(audit_path(FASHION))
    assert fashion.complete
    assert [row.label for row in fashion.rows] == [row.label for row in read_board(FASHION).rows]
    assert not any(row.broken for row in fashion.rows)
    weak = [row for row in fashion.rows if row.weak]
    assert all("logit_mix" in row.label and row.weak == ["CROSS"] for row in weak)
    assert all(row.ra == row.ra_worst for row in fashion.rows)
    assert (
        f"lowers no figure: no row is broken, and {len(weak)} of the {len(fashion.rows)} are weak (`logit_mix`," in TEXT
    )
    board = read_board(FASHION)
    row = board.by_label["fashion_mnist/resnet8/pgd_at"]
    assert row.ra["PGD-20"].seeds is not None
    assert row.worst.seeds is not None
    gaps = [pgd - row.worst.seeds[run] for run, pgd in row.ra["PGD-20"].seeds.items()]
    assert f"Of PGD-AT, AutoAttack-rand finds {min(gaps):.1f} to {max(gaps):.1f} points more;" in TEXT


def test_what_it_says_of_three_training_seeds_is_what_the_comparison_says() -> None:
    board = ROOT / "leaderboard" / "cpu_fig07.json"
    decided = []
    for dataset in ("tradeoff", "digits"):
        for knob in ("0", "0.2", "0.7", "1"):
            rows = f"{dataset}/resnet8/oat lambda={knob}", f"{dataset}/resnet8/float lambda_n={knob} lambda_th=0"
            clean, *_, worst = rs.compare(board, *rows).figures
            assert clean.verdict == "undecided"
            assert worst.scope == "methods"
            decided += [(dataset, knob)] if worst.verdict != "undecided" else []
    assert decided == [("tradeoff", "0.7")], "one of eight: OAT's, by 2.5 points"
    audit = read_audit(audit_path(board))
    assert [row.label for row in audit.rows] == [row.label for row in rs.load_board(board).rows]
    assert not any(row.broken for row in audit.rows)
    weak = sum(bool(row.weak) for row in audit.rows)
    audited = f"([{weak} of {len(audit.rows)} rows weak](leaderboard/cpu_fig07.audit.md))"
    assert f"{audited} FLOAT or OAT is undecided on both" in TEXT


def test_what_it_says_of_noise_is_what_the_comparisons_say() -> None:
    """FLOAT against the same training without noise."""
    board = ROOT / "leaderboard" / "cpu_noise.json"
    for dataset in ("digits", "tradeoff"):
        for knob in ("0", "1"):
            rows = (
                f"{dataset}/resnet8/{row}" for row in (f"float lambda_n={knob} lambda_th=0", f"advprop lambda={knob}")
            )
            assert rs.compare(board, *rows).verdict == "undecided"
    audit = read_audit(audit_path(board))
    assert audit.complete
    assert not any(row.broken for row in audit.rows)
    weak = sum(bool(row.weak) for row in audit.rows)
    assert f"([{weak} of {len(audit.rows)} rows weak](leaderboard/cpu_noise.audit.md))" in TEXT


def test_what_it_says_of_published_claims_is_what_their_board_and_its_audit_say() -> None:
    path = ROOT / "leaderboard" / "claims.json"
    board, audit = read_board(path), read_audit(audit_path(path))
    rows, audits = ({row.defense: of.get(row.label) for row in board.rows} for of in (board.by_label, audit.by_label))
    names = {"RPF": "rpf", "Adv-BNN": "adv_bnn", "random resizing": "random_resize"}
    published = [rows[name].protocols["published"].worst.value for name in names.values()]
    averaged = [rows[name].worst.value for name in names.values()]
    said = "{:.1f} % by the published scoring of RPF, {:.1f} of Adv-BNN and {:.1f} of random resizing are"
    assert f"{said.format(*published)} {averaged[0]:.1f}, {averaged[1]:.1f} and {averaged[2]:.1f} against" in TEXT
    assert audit.complete
    kept = {name: of_row.ra_worst for name, of_row in audits.items()}
    most = kept.pop("pgd_at")
    assert f"PGD-AT keeps {most.value:.1f} % [{most.low:.1f}, {most.high:.1f}], RPF {kept['rpf'].value:.1f}," in TEXT
    assert all(figure.value < most.value for figure in kept.values())
    told = {name: f"{kept.pop(name).value:.1f}" for name in ("rpf", "pni", "float", "adv_bnn")}
    assert f"PNI {told['pni']}, FLOAT {told['float']} and Adv-BNN {told['adv_bnn']}, whose published lead" in TEXT
    assert f"the others keep {max(figure.value for figure in kept.values()):.1f} at most." in TEXT
    adaptive, as_published = (audited_verdict(claim, audit.by_label) for claim in board.claims)
    assert all(claim.of == {"defense": "adv_bnn"} for claim in board.claims)
    assert adaptive.startswith("refuted")
    assert as_published.startswith("undecided (the audit does not believe")


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
