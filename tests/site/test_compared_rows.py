"""Two rows compared on the page: the same numbers as in the shell, by two clicks, the keyboard or an address."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from made_rows import changed, make_row

import robuststack as rs
from chromium import COMMITTED
from pages import go
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.board_labels import load
from robuststack.leaderboard.site.pairs import MOST_ROWS, _chosen, row_pairs

if TYPE_CHECKING:
    from playwright.sync_api import Page

BOARD = COMMITTED / "float_vs_oat.json"
FLOAT, OAT = (f"digits/resnet8/{row}" for row in ("float lambda_n=0.2 lambda_th=0", "oat lambda=0.2"))
ADDRESS = "#/float_vs_oat/compare/digits-resnet8-float-lambda_n=0.2-lambda_th=0/digits-resnet8-oat-lambda=0.2"


def test_every_pair_of_a_table_is_what_the_comparison_says() -> None:
    rows = read_board(BOARD).rows
    pairs = row_pairs(rows, load(BOARD))
    sizes = Counter(row.heading for row in rows).values()
    assert len(pairs) == sum(math.comb(size, 2) for size in sizes)
    assert len(sizes) > 1
    places = [next(place for place, row in enumerate(rows) if row.label == label) for label in (FLOAT, OAT)]
    pair = pairs[f"{places[0]} {places[1]}"]
    result = rs.compare(BOARD, FLOAT, OAT)
    assert [f"RA {figure}" if figure != "ca" else "CA" for figure in pair["figures"]] == [
        figure.figure for figure in result.figures
    ]
    for numbers, figure in zip(pair["differences"], result.figures, strict=True):
        assert numbers[:3] == pytest.approx([figure.value, figure.low, figure.high], abs=0.006)
        assert numbers[3:] == [pytest.approx(figure.p, rel=0.05), figure.verdict]
    assert len(json.dumps(pairs)) < 100_000


def test_large_tables_have_the_pairs_of_equal_settings_only() -> None:
    rows = [
        changed(make_row(label=f"{defense} {knob}"), point={"lambda": knob / 100})
        for defense in ("a", "b") for knob in range(MOST_ROWS // 2 + 1)
    ]  # fmt: skip
    assert row_pairs(rows, {}) == {}, "none without labels"
    assert len(list(_chosen(rows[:-2]))) == MOST_ROWS * (MOST_ROWS - 1) / 2
    assert list(_chosen(rows)) == [(knob, knob + MOST_ROWS // 2 + 1) for knob in range(MOST_ROWS // 2 + 1)]


def test_two_clicks_compare_two_rows_and_the_address_can_be_shared(opened: Page) -> None:
    first = opened.get_by_role("button", name=f"vs {FLOAT}", exact=True)
    first.click()
    assert first.get_attribute("aria-pressed") == "true"
    second = opened.get_by_role("button", name=f"vs {OAT}", exact=True)
    second.focus()
    opened.keyboard.press("Enter")
    opened.wait_for_selector(f"#main[data-compared='{ADDRESS}']")
    result = rs.compare(BOARD, FLOAT, OAT)
    table = opened.get_by_role("region", name="Differences").get_by_role("row")
    assert table.count() == 1 + len(result.figures)
    for shown, figure in zip(table.all_inner_texts()[1:], result.figures, strict=True):
        assert figure.figure in shown
        assert figure.text.replace("-", "−") in shown
        assert shown.strip().endswith(figure.verdict)
    assert "these two models" in opened.locator("main").inner_text()
    assert f"--rows '{FLOAT}' '{OAT}'" in opened.locator("main").inner_text()
    opened.reload()
    opened.wait_for_selector(f"#main[data-compared='{ADDRESS}']")
    opened.get_by_role("button", name="Swap").click()
    opened.wait_for_selector("#main[data-compared*='oat-lambda=0.2/digits-resnet8-float']")
    opposite = result.figures[-1]
    assert f"{-opposite.value:+.1f}".replace("-", "−") in opened.get_by_role("region", name="Differences").inner_text()


def test_a_row_is_compared_from_its_page_and_missing_labels_are_said(opened: Page) -> None:
    go(opened, "#/float_vs_oat/digits-resnet8-oat-lambda=0.2")
    choice = opened.get_by_role("combobox", name="Compare with")
    assert "tradeoff" not in choice.inner_text()
    choice.select_option(label="float lambda_n=0.2 lambda_th=0")
    opened.wait_for_selector("#main[data-compared*='oat-lambda=0.2/digits-resnet8-float']")
    go(opened, ADDRESS.replace("float_vs_oat", "full"))
    opened.wait_for_selector("#main[data-compared*='full']")
    assert "the labels beside the leaderboard are missing" in opened.locator("main").inner_text()
    go(opened, "#/float_vs_oat/compare/digits-resnet8-oat-lambda=0.2/nothing")
    assert (
        "There is no float_vs_oat/compare/digits-resnet8-oat-lambda=0.2/nothing" in opened.locator("main").inner_text()
    )
