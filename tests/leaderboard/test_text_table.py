"""Tables whose cells hold signs that would end a cell or a line."""

from __future__ import annotations

from robuststack.leaderboard.text_table import text_table


def test_a_bar_ends_no_cell_of_markdown() -> None:
    table = text_table([["a|b", "1"]], ["x|y", "z"], "github")
    header, _, row = table.splitlines()
    assert [header.count("|") - header.count(r"\|"), row.count("|") - row.count(r"\|")] == [3, 3]
    assert r"a\|b" in row
    assert r"x\|y" in header


def test_a_bar_stays_as_it_is_in_other_formats() -> None:
    assert "a|b" in text_table([["a|b", "1"]], ["x", "y"], "simple")


def test_a_cell_is_one_line() -> None:
    for style in ("github", "simple", "html"):
        assert "a b" in text_table([["a\nb"], ["c"]], ["x"], style)
    assert len(text_table([["a\n\rb"], ["c"]], ["x"], "github").splitlines()) == 4
