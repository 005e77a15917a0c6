"""Every choice on the page of a suite stands in its address, and an address brings it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pages import column, go, values

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_an_address_brings_back_every_choice(opened: Page) -> None:
    go(opened, "#/full")
    opened.get_by_role("combobox", name="Dataset").select_option("digits")
    opened.get_by_role("combobox", name="Attack").select_option("FGSM")
    opened.get_by_role("group", name="Protocol").get_by_text("published").click()
    opened.get_by_role("group", name="Reading").get_by_text("majority 5").click()
    opened.get_by_role("group", name="Horizontal axis").get_by_text("MACs").click()
    opened.get_by_role("button", name="oat", exact=True).click()
    opened.get_by_role("columnheader", name="CA %").get_by_role("button").click()
    opened.get_by_text("Columns", exact=True).click()
    opened.get_by_role("group", name="Columns shown").get_by_label("Draws").click()
    address = opened.evaluate("location.hash")
    for part in ("dataset=digits", "attack=FGSM", "protocol=published", "reading=majority+5", "off=oat", "axis=macs", "sort=ca+desc", "column=draws"):  # fmt: skip
        assert part in address
    headings = opened.locator(".tabulator-col:visible").all_inner_texts()
    cells = column(opened, "ca", 0)
    opened.reload()
    opened.wait_for_selector(".tabulator-row")
    assert opened.locator(".tabulator-col:visible").all_inner_texts() == headings
    assert "Draws" in "".join(headings)
    assert "RA FGSM %" in "".join(headings)
    assert column(opened, "ca", 0) == cells
    assert values(cells) == sorted(values(cells), reverse=True)
    assert opened.get_by_role("button", name="oat", exact=True).get_attribute("aria-pressed") == "false"
    assert "Multiply-accumulates" in opened.locator(".plane").first.inner_text()
    assert opened.evaluate("location.hash") == address


def test_a_choice_that_is_not_there_is_passed_over(opened: Page) -> None:
    go(
        opened,
        "#/float_vs_oat?attack=nothing&dataset=%3Cimg%3E&sort=nothing+up&column=none&off=none&axis=x&reading=any+9",
    )
    assert len(column(opened, "defense")) == 16
    assert opened.get_by_role("combobox", name="Attack").input_value() == "worst"
    assert opened.get_by_role("combobox", name="Dataset").input_value() == ""


def test_rows_that_a_protocol_does_not_score_are_counted(opened: Page) -> None:
    go(opened, "#/full?protocol=published&reading=majority+5")
    assert "16 rows not shown: not scored by published, majority 5." in opened.locator("main").inner_text()
    assert opened.locator(".plane").first.locator("svg a").count() == len(column(opened, "ca"))
    go(opened, "#/full")
    assert "not scored by" not in opened.locator("main").inner_text()


def test_accuracy_under_a_natural_shift_is_beside_the_robust_ones_and_in_none_of_them(opened: Page) -> None:
    go(opened, "#/full")
    shifted = column(opened, "shift Blur-3")
    assert shifted[0] == column(opened, "ca")[0]
    assert set(shifted[1:]) == {"–"}
    opened.get_by_role("group", name="Reading").get_by_text("majority 5").click()
    assert set(column(opened, "shift Blur-3")) == {"–"}, "a vote was not judged on it"
    go(opened, "#/full/digits-resnet8-float-lambda_n=0-lambda_th=0")
    assert "CA Blur-3" in opened.get_by_role("region", name="Accuracy by protocol and reading").inner_text()


def test_a_large_table_draws_what_is_in_sight_and_finds_rows_by_words(opened: Page) -> None:
    opened.evaluate(
        """() => {
          const board = robuststack.boards.find((candidate) => candidate.name === 'float_vs_oat');
          board.rows = Array.from({ length: 20 }, (_, copy) => board.rows.map((row) => ({
            ...row, label: `${row.label} copy-${copy}`, site: { ...row.site, id: `${row.site.id}-${copy}` } }))).flat();
        }"""
    )
    go(opened, "#/")
    go(opened, "#/float_vs_oat?sort=ca+asc")
    assert 10 < opened.locator(".tabulator-row").count() < 200
    assert opened.evaluate("Tabulator.findTable('.grid-table')[0].getRows('active').length") == 640
    opened.get_by_role("searchbox", name="Find rows by words of their label").fill("copy-7 oat digits")
    assert len(column(opened, "ca")) == 4
    assert values(column(opened, "ca")) == sorted(values(column(opened, "ca")))
    assert "find=copy-7+oat+digits" in opened.evaluate("location.hash")
    assert opened.get_by_role("status").inner_text() == "4 rows shown"
    opened.reload()  # The boards as they were.
