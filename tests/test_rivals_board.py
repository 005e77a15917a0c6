"""docs/tunable-defenses.md: its tables and what it says of them are the committed leaderboard's and its audit's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tabulate import tabulate

import robuststack as rs
from robuststack.leaderboard.audit_file import audit_path, read_audit
from robuststack.leaderboard.board import Board, Entry
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.entries import grouped
from robuststack.leaderboard.row import Row
from robuststack.wording import component_text

ROOT = Path(__file__).parent.parent
BOARD = ROOT / "leaderboard" / "rivals.json"
PAGE = (ROOT / "docs" / "tunable-defenses.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
HEADER = [
    "",
    "hypervolume %",
    "best: CA, RA",
    "audited",
    "1,000 parameters",
    "million MACs",
    "s an epoch",
]


def entries(board: Board, dataset: str) -> list[tuple[Entry, list[Row]]]:
    """Each defense on a data set and its rows, the largest hypervolume first."""
    pairs = zip(board.entries, grouped(board.rows), strict=True)
    found = [(entry, rows) for entry, rows in pairs if entry.variant[0] == dataset]
    return sorted(found, key=lambda pair: -pair[0].hypervolume)


def table(dataset: str) -> str:
    """What each defense is worth with all its settings, its most robust setting, and what it costs."""
    audits, body = read_audit(audit_path(BOARD)).by_label, []
    for entry, rows in entries(read_board(BOARD), dataset):
        best = max(rows, key=lambda row: (row.worst.value, row.ca.value))
        audit, certainty = audits[best.label], entry.certainty
        assert audit.ra_worst is not None
        assert certainty is not None
        assert best.train_seconds_per_epoch is not None
        body.append(
            [
                f"`{component_text(entry.defense, entry.shown)}`",
                f"{entry.hypervolume:.1f} [{certainty.low:.1f}, {certainty.high:.1f}]",
                f"{best.ca.value:.1f}, {best.worst.value:.1f}",
                f"{audit.ra_worst.value:.1f} [{audit.ra_worst.low:.1f}, {audit.ra_worst.high:.1f}], {audit.badge}",
                f"{max(row.parameters for row in rows) / 1000:.0f}",
                f"{max(row.macs for row in rows) / 1e6:.2f}",
                f"{sum({min(row.jobs.train.items())[1]: row.train_seconds_per_epoch or 0 for row in rows}.values()):.2f}",
            ]
        )
    return tabulate(body, HEADER, tablefmt="github", disable_numparse=True)


@pytest.mark.parametrize("dataset", ["digits", "tradeoff"])
def test_the_tables_are_those_of_the_committed_leaderboard(dataset: str) -> None:
    match = re.search(rf"<!-- {dataset} -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert match, "the page has no place for the table"
    assert match[1].strip() == table(dataset), f"the table should be:\n\n{table(dataset)}\n"


def rows() -> dict[str, Row]:
    return {row.label.replace("/resnet8/", " "): row for row in read_board(BOARD).rows}


def test_no_family_is_told_from_pgd_at() -> None:
    """README and the page say so of every entry at full width, by hypervolume."""
    board = read_board(BOARD)
    for dataset in ("digits", "tradeoff"):
        for entry, settings in entries(board, dataset):
            if entry.defense in ("none", "pgd_at") or entry.shown.get("width", 1.0) != 1.0:
                continue
            fronts = rs.compare(BOARD, settings[-1].label, f"{dataset}/resnet8/pgd_at lambda=1").fronts
            assert fronts is not None
            assert fronts.hypervolume.low < 0.05, entry
            assert fronts.hypervolume.high > -0.05, entry
            if (dataset, entry.defense) == ("digits", "yoto"):
                assert entry is entries(board, dataset)[0][0]
                gap = fronts.hypervolume
                assert f"by {gap.value:.1f} points [{gap.low:.1f}, {gap.high:.1f}]" in TEXT


def test_what_it_says_of_seeds_costs_and_averages_is_what_the_rows_say() -> None:
    row = rows()
    worst = row["tradeoff oat lambda=0"].worst.seeds
    assert worst is not None
    low, middle, high = worst.values()
    assert f"RA of OAT is {low:.1f}, {middle:.1f} and {high:.1f} %." in TEXT
    for defense in ("oat lambda=0", "solar lambda=0 width=1"):
        clean, robust = row[f"tradeoff {defense}"].ca.seeds, row[f"tradeoff {defense}"].worst.seeds
        assert clean is not None
        assert robust is not None
        assert [clean[seed] > 90 and robust[seed] == 0 for seed in clean] == [True, True, False]
    one = row["digits pgd_at lambda=1"]
    times = {name: row[f"digits {name}"].parameters / one.parameters for name in ("oat lambda=0", "yoto lambda=0")}
    assert f"OAT has {times['oat lambda=0']:.1f} times the parameters, YOTO {times['yoto lambda=0']:.1f} times." in TEXT
    for name in ("float lambda_n=1 lambda_th=0", "advprop lambda=1"):
        assert f"{100 * (row[f'digits {name}'].parameters / one.parameters - 1):.1f}" == "0.4"
        assert row[f"digits {name}"].macs == one.macs
    mixed, half = row["digits mixed_nuts alpha=0.6"], row["digits pgd_at lambda=0.5"]
    assert f"has CA {mixed.ca.value:.1f} and RA {mixed.worst.value:.1f} at alpha 0.6" in TEXT
    assert f"at lambda 0.5 has {half.ca.value:.1f} and {half.worst.value:.1f}." in TEXT
    ema, swa = (row[f"digits pgd_at lambda=1 average={kind}"].worst.value for kind in ("ema", "swa"))
    assert f"PGD-AT has RA {one.worst.value:.1f} on `digits`, with EMA {ema:.1f} and with SWA {swa:.1f}." in TEXT
    assert f"RA {ema:.1f} (EMA) and {swa:.1f} (SWA) for {one.worst.value:.1f}." in README
    mixes = {row[f"tradeoff weight_mix alpha={alpha}"].worst.value for alpha in ("0", "0.2", "0.5", "1")}
    assert len(mixes) == 1


def test_what_is_said_of_the_audit_is_what_the_audit_says() -> None:
    audit = read_audit(audit_path(BOARD))
    assert audit.complete
    assert [row.label for row in audit.rows] == [row.label for row in read_board(BOARD).rows]
    weak = [row for row in audit.rows if row.weak and not row.broken]
    broken = [row for row in audit.rows if row.broken]
    assert f"calls {len(weak)} rows weak" in TEXT
    assert f"{len(weak)} of {len(audit.rows)} rows are weak; {len(broken)}, with RA" in README
    highest = max(row.ra_worst.value for row in broken if row.ra_worst)
    assert f"{len(broken)} rows, with RA of {highest:.1f} % at most, are broken" in TEXT
    assert f"with RA of {highest:.1f} % at most, broken" in README
    for name, label in (("PGD-AT", "pgd_at lambda=1"), ("YOTO", "yoto lambda=1")):
        row = audit.by_label[f"digits/resnet8/{label}"]
        assert row.ra is not None
        assert row.ra_worst is not None
        assert re.search(rf"{name}'s {row.ra.value:.1f} % they leave {row.ra_worst.value:.1f}[,:]", TEXT)
