"""How a suite asks for readings, and how many judging draws that takes."""

from __future__ import annotations

import pytest

from robuststack.errors import SuiteError
from robuststack.suite.loading import load_suite
from robuststack.suite.suite import Evaluate
from suite_files import BASE, write


@pytest.fixture
def evaluate(tmp_path):
    def loaded(text: str) -> Evaluate:
        return load_suite(write(tmp_path, f"{BASE}evaluate: {text}\n")).evaluate

    return loaded


@pytest.mark.parametrize(
    ("text", "draws", "readings"),
    [
        ("{}", 20, ["expected"]),
        ("{readings: majority 3}", 20, ["expected", "majority 3"]),
        ("{readings: [majority 5, any 10]}", 40, ["expected", "majority 5", "any 10"]),
        ("{readings: [any 10, expected], draws: 10}", 10, ["expected", "any 10"]),
    ],
)
def test_draws_follow_the_readings_unless_the_suite_says_so(evaluate, text, draws, readings):
    asked = evaluate(text)
    assert (asked.judging_draws, [str(reading) for reading in asked.parsed_readings]) == (draws, readings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{draws: 8, readings: [any 10]}",
            "any 10 needs 10 judging draws, not 8; set evaluate.draws to 40 or leave it out",
        ),
        ("{readings: [mean]}", "'mean' is no reading; write expected, majority R or any N"),
    ],
)
def test_a_reading_that_cannot_be_is_one_line_with_its_place(evaluate, text, message):
    with pytest.raises(SuiteError, match=r"mine\.yaml:5:\d+: .*evaluate\.readings") as caught:
        evaluate(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
