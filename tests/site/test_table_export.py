"""The table as it is shown, as CSV and LaTeX: its rows, columns, order, and the best in bold."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pages import UNSAFE, column, go, values

if TYPE_CHECKING:
    from playwright.sync_api import Page


def exported(page: Page, kind: str) -> str:
    if not page.get_by_role("button", name=f"Download {kind}").is_visible():
        page.get_by_text("Export", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Download {kind}").click()
    assert download.value.suggested_filename.startswith(page.evaluate("location.hash").split("/")[1].split("?")[0])
    return Path(download.value.path()).read_text()


def test_csv_has_the_shown_rows_and_columns_in_their_order(opened: Page) -> None:
    go(
        opened,
        "#/float_vs_oat?dataset=digits&sort=ra+worst+desc&column=defense&column=setting&column=ca&column=ra+worst&column=macs",
    )
    lines = list(csv.DictReader(io.StringIO(exported(opened, "CSV"))))
    assert list(lines[0]) == ["table", "Defense", "Setting", "CA", "CA low", "CA high", "RA worst", "RA worst low", "RA worst high", "MACs"]  # fmt: skip
    assert [f"{float(line['RA worst']):.1f}" for line in lines] == [
        f"{value:.1f}" for value in values(column(opened, "ra worst"))
    ]
    assert [line["Defense"] for line in lines] == [text.strip() for text in column(opened, "defense")]
    assert {line["table"] for line in lines} == {"digits, resnet8, Linf eps 0.25"}
    assert all(float(line["CA low"]) <= float(line["CA"]) <= float(line["CA high"]) for line in lines)
    assert all(line["MACs"].isdigit() for line in lines)


def test_latex_has_a_table_for_each_heading_with_its_best_in_bold(opened: Page) -> None:
    go(opened, "#/float_vs_oat?column=defense&column=setting&column=ca&column=ra+worst&column=ms+1")
    text = exported(opened, "LaTeX")
    assert text.count(r"\begin{tabular}{llrrr}") == text.count(r"\bottomrule") == 2
    digits = text.split("\n\n")[0].splitlines()
    assert digits[0] == "% digits, resnet8, Linf eps 0.25"
    assert r"lambda\_n=0.2 lambda\_th=0" in text
    assert r"CA \% & RA worst \% & ms, batch 1" in text
    rows = [line.removesuffix(r" \\").split(" & ") for line in digits[5:-2]]
    assert len(rows) == 16
    for place, best in ((2, max), (3, max), (4, min)):
        figures = [float(re.sub(r"\\textbf\{([\d.]+)\}", r"\1", row[place]).split()[0]) for row in rows]
        bold = [figure for row, figure in zip(rows, figures, strict=True) if "textbf" in row[place]]
        assert set(bold) == {best(figures)}
    assert re.fullmatch(r"\S+ \[[\d.]+, [\d.]+\]", rows[0][3]), "with its interval"
    opened.get_by_label("Best in bold (LaTeX)").uncheck()
    opened.get_by_label("Intervals (LaTeX)").uncheck()
    plain = exported(opened, "LaTeX")
    assert "textbf" not in plain
    assert "[" not in plain.replace("[0.5,1.0]", "")


def test_what_a_spreadsheet_or_latex_would_misread_is_written_as_text(opened: Page) -> None:
    go(opened, "#/full?column=defense&column=extra+carbon+" + "%3Cimg+src%3Dx+onerror%3Dalert%281%29%3E")
    assert f"3 g {UNSAFE}" in exported(opened, "CSV")
    opened.evaluate(
        "robuststack.boards.find((board) => board.name === 'full').rows[0].extra = { note: 'a,\"b\"\\n5 % & $x_1^2$ {c} ~ #' }"
    )
    go(opened, "#/")
    go(opened, "#/full?column=extra+note")
    (cell,) = [line[1] for line in csv.reader(io.StringIO(exported(opened, "CSV"))) if line[1].startswith("a,")]
    assert cell == 'a,"b"\n5 % & $x_1^2$ {c} ~ #'
    assert r"5 \% \& \$x\_1\textasciicircum{}2\$ \{c\} \textasciitilde{} \#" in exported(opened, "LaTeX")
    opened.reload()  # The boards as they were.
