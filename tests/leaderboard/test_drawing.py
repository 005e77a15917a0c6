"""Figures: the rows that a suite asks for, with their intervals, as SVG that is the same for the same rows."""

from __future__ import annotations

import copy
import re
from xml.etree import ElementTree

import pytest
from made_rows import changed

from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.drawing import draw, draw_figure, file_name
from robuststack.suite.report import Drawing

PLANE = Drawing(title="CA against RA", x="ca", y=["ra"])


@pytest.fixture(scope="module")
def rows(trained) -> list:
    return list(read_board(trained.leaderboard / "small.json").rows)


def texts(drawing: Drawing, rows: list) -> list[str]:
    """Every text in the picture."""
    content = draw(drawing, rows)
    assert content is not None
    root = ElementTree.fromstring(content)
    return ["".join(element.itertext()).strip() for element in root.iter() if element.tag.endswith("}text")]


def test_a_curve_names_its_axes_series_and_knobs(rows):
    words = texts(PLANE, rows)
    assert {"CA against RA", "clean accuracy (%)", "robust accuracy, worst case (%)"} <= set(words)
    assert {"none", "pgd_at", "float", "oat"} <= set(words)
    assert words.count("0") >= 2
    assert "tradeoff, resnet8, Linf eps 0.1" in words


def test_points_may_be_named_by_all_of_their_knobs(rows):
    def named(knobs: bool) -> set[str]:
        picture = draw_figure(PLANE, rows, knobs=knobs)
        assert picture is not None
        return {text.get_text() for axes in picture.axes for text in axes.texts}

    assert {"lambda_n=0 lambda_th=0", "lambda=0"} <= named(True)
    assert not any("=" in name for name in named(False))


def test_a_legend_of_long_names_stays_within_the_picture(rows):
    picture = draw_figure(Drawing(title="t", x="ca", y=["ra", "ra.FGSM"], series=["label"]), rows)
    assert picture is not None
    (legend,) = picture.legends
    picture.draw_without_rendering()
    assert legend.get_window_extent().x0 >= 0
    assert legend.get_window_extent().x1 <= picture.bbox.x1


def test_rows_that_agree_in_the_series_keys_are_one_line(rows):
    by_knob = Drawing(title="t", x="ca", y=["ra"], series=["defense", "point.lambda_n"], only={"defense": "float"})
    words = texts(by_knob, rows)
    assert {"float lambda_n=0", "float lambda_n=1"} <= set(words)
    assert "oat" not in words


def test_several_things_over_a_knob_are_told_apart(rows):
    words = texts(Drawing(title="t", x="point.lambda_n", y=["ca", "ra.FGSM"], only={"defense": "float"}), rows)
    assert {"float, clean accuracy (%)", "float, RA FGSM (%)", "lambda_n"} <= set(words)


def test_without_an_axis_there_are_bars_with_their_numbers(rows):
    words = texts(Drawing(title="Sizes", y=["parameters"]), rows)
    for row in rows:
        assert f"{row.parameters:.4g}" in words


def test_what_lies_inside_a_model_is_drawn_by_layer(rows):
    layered = [changed(row, inspected={"alpha": {"stem": 0.25, "last": 0.1}}) for row in rows if row.defense == "float"]
    assert "layer, from the input" in texts(Drawing(title="Alpha", y=["inspected.alpha"]), layered)


def test_the_same_rows_give_the_same_file(rows):
    assert draw(PLANE, rows) == draw(PLANE, copy.deepcopy(rows))
    ca = changed(rows[0].ca, value=rows[0].ca.value - 5)
    assert draw(PLANE, rows) != draw(PLANE, [changed(rows[0], ca=ca), *rows[1:]])


def test_a_figure_of_nothing_is_not_drawn(rows):
    assert draw(Drawing(title="t", x="ca", y=["ra.unknown"]), rows) is None
    assert draw(Drawing(title="t", x="ca", y=["ra"], only={"defense": "trades"}), rows) is None


def test_each_panel_is_one_table(rows):
    other = [changed(row, variant=("digits", "resnet8")) for row in rows]
    headings = [text for text in texts(PLANE, [*rows, *other]) if "Linf" in text]
    assert headings == ["tradeoff, resnet8, Linf eps 0.1", "digits, resnet8, Linf eps 0.1"]


def test_file_names_are_plain():
    assert file_name("fig07", Drawing(title="RA (%) over λ, PGD-20", y=["ra"])) == "fig07.ra-over-pgd-20.svg"
    assert re.fullmatch(r"[a-z0-9.-]+", file_name("s", PLANE))
