"""What the tests of the page share: a page under watch, and a leaderboard with everything on it."""

from __future__ import annotations

import copy
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from made_games import make_game

from chromium import COMMITTED
from robuststack.evidence.checks.verdict import Verdict
from robuststack.leaderboard.audit import AUDIT_SCHEMA, Audit, AuditFigure, CheckQuestion, RowAudit
from robuststack.leaderboard.board import Board

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

PHONE = {"width": 390, "height": 844}
UNSAFE = "<img src=x onerror=alert(1)>"
"""What no page may read as HTML."""


def without_browser(reason: str) -> None:
    """Skip, except in CI, where no browser test may be skipped."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{reason}; in CI the page is always tested", pytrace=False)
    pytest.skip(reason)


@dataclass
class Watched:
    """A page, what went wrong on it, and what it asked for."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def elsewhere(self) -> list[str]:
        """Requests that leave this machine."""
        return [request for request in self.requests if not request.startswith(("file:", "data:"))]


def watched(context: BrowserContext) -> Watched:
    """A new page that is listened to."""
    watched_page = Watched(context.new_page())
    watched_page.page.set_default_timeout(30_000)
    watched_page.page.on(
        "console",
        lambda message: watched_page.errors.append(message.text) if message.type in ("error", "warning") else None,
    )
    watched_page.page.on("pageerror", lambda error: watched_page.errors.append(str(error)))
    watched_page.page.on("request", lambda request: watched_page.requests.append(request.url))
    return watched_page


def go(page: Page, address: str) -> None:
    page.evaluate("address => { location.hash = address; }", address)
    arrived(page, address)


def arrived(page: Page, address: str) -> None:
    """Wait until this address is what is shown."""
    page.wait_for_selector(f'#main[data-address="{address}"]')


def column(page: Page, field: str, group: int = 0) -> list[str]:
    """The text of a column's cells in a group of rows, from top to bottom."""
    return page.evaluate(
        """([field, group]) => {
          const groups = [];
          for (const row of document.querySelectorAll('.tabulator-table > .tabulator-row')) {
            if (row.classList.contains('tabulator-group')) groups.push([]);
            else groups.at(-1).push(row.querySelector(`[tabulator-field="${field}"]`).innerText);
          }
          return groups[group] ?? [];
        }""",
        [field, group],
    )


def values(texts: list[str]) -> list[float]:
    return [float(text.split()[0]) for text in texts]


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def full_board() -> Board:
    """A leaderboard with what the committed ones may lack: published rows, claims, curves, doubts, a second protocol,
    several training seeds, names that look like HTML."""
    board = json.loads((COMMITTED / "float_vs_oat.json").read_text())
    board |= {
        "suite": "full", "title": "full", "suite_file": "../suites/cpu/full.yaml", "complete": False, "overrides": ["train.epochs=3"],
        "description": f"All of it {UNSAFE}",
    }  # fmt: skip
    point = {"low": 40.0, "high": 60.0}
    board["rows"][0]["draws_chosen"] = {
        attack: {
            "0/0": {
                "draws": 2, "cap_reached": True, "n": 500, "job": "draws-0123456789abcdef",
                "curve": [{"draws": draws, "accuracy": 52.0 - draws, "passes": 40.0 * draws, **point} for draws in (1, 2)],
            }
        }
        for attack in list(board["rows"][0]["attacks"])[:1]
    }  # fmt: skip
    board["claims"] = json.loads((COMMITTED / "fashion.json").read_text())["claims"]
    board["claims"][0]["claim"] += UNSAFE
    board["games"] = [json.loads(make_game().model_dump_json())]
    board["reference"] = [
        {
            "source": "Somebody 2020",
            "defense": f"theirs {UNSAFE}",
            "setting": "",
            "ca": 99.9,
            "ra": {"PGD-7": 99.9},
            "note": "",
        }
    ]
    first, second = board["rows"][:2]
    curve = board["training"][first["jobs"]["train"]["0"]]
    for row in board["rows"]:
        if row["defense"] == "float":
            _score_again(row)
            _read_again(row)
            _repeat(row, seeds=3)
            board["training"] |= dict.fromkeys(row["jobs"]["train"].values(), curve)
    first["shift"] = {"Blur-3": copy.deepcopy(first["ca"])}
    first["checks"]["gradients_zero"] = 50.0
    first["extra"] = {f"carbon {UNSAFE}": f"3 g {UNSAFE}"}
    first["layers"] = {title: ["stem", *sorted(set(values) - {"stem"})] for title, values in first["inspected"].items()}
    second["label"] += UNSAFE
    metrics = {"loss": [2.0, 1.0, 0.5], "clean": [30.0, 60.0, 90.0], "adversarial": [10.0, 20.0, 40.0]}
    board["training"] |= {job: {"kept_epoch": 3, "metrics": metrics} for job in first["jobs"]["train"].values()}
    return Board.model_validate_json(json.dumps(board))


def audit_of(board: Board) -> Audit:
    """An audit of the first two rows: one with a stronger attack, one without a doubt."""
    figures = [AuditFigure(value=value, low=value, high=value + 2, n=400) for value in (60.0, 40.0)]
    weak = Verdict(check="STRONGER", verdict="weak", figure=20.0, threshold=1.0, text=f"APGD-CE finds more {UNSAFE}",
                   jobs=("judge-0", "judge-1"))  # fmt: skip
    holds = Verdict(check="STRONGER", verdict="holds", text="nothing finds more")
    rows = [
        RowAudit(label=row.label, images=200, others=200, jobs=tuple(row.audited_jobs), ra=figures[0],
                 ra_worst=worst, verdicts=(verdict,))
        for row, worst, verdict in zip(board.rows, reversed(figures), (weak, holds), strict=False)
    ]  # fmt: skip
    return Audit(
        schema_=AUDIT_SCHEMA, suite=board.suite, suite_file=board.suite_file, overrides=board.overrides, complete=True,
        device="cpu", precision="float32", checks=(CheckQuestion(name="STRONGER", question="Is there more?"),),
        rows=tuple(rows),
    )  # fmt: skip


def _score_again(row: dict[str, Any]) -> None:
    """A protocol beside the row's own, which finds the model more robust."""
    scores = copy.deepcopy({key: row[key] for key in ("ca", "ra", "attacks")})
    for figure in scores["ra"].values():
        figure["value"] = min(figure["value"] + 7, 100.0)
        figure["high"] = min(figure["high"] + 7, 100.0)
    row["protocols"] = {"published": scores}
    row["jobs"]["scores"]["published"] = copy.deepcopy(row["jobs"]["scores"]["adaptive"])


def _read_again(row: dict[str, Any]) -> None:
    """A vote of five, which is right a little oftener; without an interval."""
    for scores in (row, *row["protocols"].values()):
        figures = copy.deepcopy({"ca": scores["ca"], "ra": scores["ra"]})
        for figure in (figures["ca"], *figures["ra"].values()):
            figure |= {"value": min(figure["value"] + 3, 100.0), "low": None, "high": None, "interval": "none"}
        latency = {
            batch: {key: None if value is None else 5 * value for key, value in timed.items()}
            for batch, timed in row["latency_ms"].items()
        }
        scores["readings"] = {"majority 5": {**figures, "passes": 5, "macs": 5 * row["macs"], "latency_ms": latency}}


def _repeat(row: dict[str, Any], seeds: int) -> None:
    """A row of several training seeds, whose figures are all the same."""
    row["seeds"]["train"] = list(range(seeds))
    row["jobs"]["train"] = {str(seed): f"{row['jobs']['train']['0']}-{seed}" for seed in range(seeds)}
    for scores in (row, *row["protocols"].values()):
        for figure in (scores["ca"], *scores["ra"].values()):
            figure |= {"seeds": {f"{seed}/0": figure["value"] for seed in range(seeds)}, "spread": 0.0}
            figure |= {"lowest": figure["value"], "highest": figure["value"]}
