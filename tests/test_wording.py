"""Numbers, options and radii as text."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_rows import make_figure

from robuststack.hardware import Hardware
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite
from robuststack.suite.single_model import single_suite
from robuststack.wording import component_text, options_text, percent_text, radius_text, threat_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8 / 255, "8/255"), (1 / 255, "1/255"), (0.2, "0.2"), (0.1, "0.1"), (0.25, "0.25"), (1.0, "1"), (0.031, "0.031"),
        (51.5 / 255, "0.201961"), (100 / 255, "100/255"),
    ],
)  # fmt: skip
def test_a_radius_is_written_as_people_write_it(value: float, text: str) -> None:
    assert radius_text(value) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"), [(98.44, 97.05, 99.2, "98.4 [97.0, 99.2]"), (0.0, 0.0, 3.7, "0.0 [0.0, 3.7]")]
)
def test_a_figure_is_percent_with_its_interval(value: float, low: float, high: float, text: str) -> None:
    assert percent_text(value, low, high) == text


def test_a_figure_of_a_row_is_written_so() -> None:
    assert make_figure(50.0).text == "50.0 [49.0, 51.0]"


def test_options_are_pairs_without_spaces_inside() -> None:
    values = {"lambda_n": 0.2, "lambdas": [0.0, 0.5], "steps": 7, "eps": 8 / 255, "on": True, "none": None}
    assert options_text(values) == "lambda_n=0.2 lambdas=[0.0,0.5] steps=7 eps=8/255 on=True none=None"
    assert options_text({}) == ""
    assert component_text("oat", {"dim": 128}) == "oat dim=128"
    assert component_text("oat", {}) == "oat"
    assert threat_text("linf", 8 / 255) == "Linf eps 8/255"


SUITE = """
datasets: digits
architectures: resnet8
threat: [{eps: 8/255}, {eps: 0.1}]
defenses: [{name: float, options: {recipe: code}, points: {lambda_n: 0.2}}, {name: oat, sweep: {lambdas: [[0, 0.5, 1]]}}]
attacks: fgsm
"""


def test_labels_and_tables_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    plan = make_plan(load_suite(tmp_path / "s.yaml"), Registry(), Hardware("cpu", "float32"))
    first = plan.rows[0]
    assert first.label == "digits/resnet8/float eps=8/255 lambda_n=0.2 lambda_th=0"
    for row in plan.rows:
        assert row.label.endswith(options_text(row.facts["point"])) or "lambdas=[0,0.5,1]" in row.label
        assert f"eps={radius_text(row.facts['threat']['eps'])}" in component_text(
            row.facts["defense"], row.facts["shown"]
        )
        assert f"eps={radius_text(row.facts['threat']['eps'])}" in row.label


def test_what_a_table_prints_evaluate_reads() -> None:
    printed = component_text("pgd", {"steps": 7, "step": 0.5})
    suite = single_suite(dataset="digits", attacks=[printed], python="a:b")
    assert suite.attacks[0].options == {"steps": 7, "step": 0.5}
