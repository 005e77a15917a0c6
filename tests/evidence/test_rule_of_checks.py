"""Rule 6: what a fall means on the check's images and on others, and what is said if it cannot be told."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robuststack.evidence.checks.pairs import Finding, Pair
from robuststack.evidence.checks.stronger import Stronger
from robuststack.evidence.checks.verdict import BADGES, SEVERITY, Verdict, gravest
from robuststack.evidence.decisions import fall

N = 200
TRUTH = np.zeros(N, dtype=int)


def outcomes(right: int) -> list[np.ndarray]:
    return [np.where(np.arange(N) < right, 0, 1)[None]]


def finding(before: int, after: int, again: int | None = None) -> Finding:
    """A fall from `before` right images to `after`; on other images by `again`."""
    second = None if again is None else fall(outcomes(150), outcomes(150 - again), TRUTH)
    pair = Pair("APGD-CE", (SimpleNamespace(id="judge-0"),), (SimpleNamespace(id="judge-1"),))
    return Finding(pair, fall(outcomes(before), outcomes(after), TRUTH), (before / 2, after / 2), second, 200)


@pytest.mark.parametrize(
    ("before", "after", "again", "word"),
    [
        (150, 150, None, "holds"),
        (150, 149, None, "holds"),
        (150, 148, None, "open"),  # Of 200 images of which two fall, 3.1 points cannot be excluded.
        (150, 146, None, "open"),  # p = 0.06, and 3 points cannot be excluded.
        (150, 140, 20, "weak"),
        (150, 140, 0, "open"),  # Other images say nothing of it.
        (150, 140, 4, "open"),  # p = 0.0625 on them.
        (150, 140, 5, "weak"),
    ],
)
def test_a_fall_counts_if_other_images_confirm_it(before, after, again, word):
    verdict = Stronger().judge([finding(before, after, again)])
    assert verdict.verdict == word, verdict.text
    assert verdict.threshold == 1.0
    assert verdict.figure == (before - after) / 2
    assert verdict.jobs == ("judge-0", "judge-1")


@pytest.mark.parametrize(("fallen", "word"), [(10, "open"), (11, "weak")])
def test_without_other_images_p_has_to_stay_below_both_levels_together(fallen, word):
    """0.5^10 is above 0.0005, 0.5^11 below."""
    assert Stronger().judge([finding(150, 150 - fallen)]).verdict == word


def test_one_of_several_comparisons_is_enough_and_the_largest_is_told_first():
    verdict = Stronger().judge([finding(150, 150), finding(150, 130, 20), finding(150, 100, 20)])
    assert verdict.verdict == "weak"
    assert verdict.figure == 25.0
    assert verdict.text.index("75.0 to 50.0 %") < verdict.text.index("75.0 to 65.0 %")


@given(words=st.lists(st.sampled_from(SEVERITY), min_size=1))
def test_the_gravest_word_of_a_rows_models_is_the_rows(words):
    verdicts = [Verdict(check="STAT", verdict=word, text=str(place)) for place, word in enumerate(words)]
    chosen = gravest(verdicts)
    assert SEVERITY.index(chosen.verdict) == max(map(SEVERITY.index, words))
    assert int(chosen.text) == words.index(chosen.verdict)


def test_every_word_has_a_letter():
    assert set(BADGES) == set(SEVERITY)
    assert len(set(BADGES.values())) == len(BADGES)
