"""`--only`: the rows that match, and the jobs that they need."""

from __future__ import annotations

import pytest

from planned_suites import ids
from robuststack.errors import RobustStackError


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("float", 2),
        ("none", 1),
        ("lambda_n=1", 1),
        ("tradeoff", 3),
        ("resnet8/float", 2),
        ("*lambda_n=0 *", 1),
        ("*", 3),
    ],
)
def test_only_keeps_the_rows_that_match_and_the_jobs_they_need(plan, pattern, count):
    whole = plan()
    part = whole.only(pattern)
    assert len(part.rows) == count
    assert ids(part) == set().union(*(row.jobs() for row in part.rows))
    assert part.complete is (count == len(whole.rows))


def test_only_matches_from_the_beginning_of_a_word(plan):
    made = plan("defenses=[float, oat]").only("oat")
    assert {row.facts["defense"] for row in made.rows} == {"oat"}


def test_a_whole_label_is_that_row_alone(plan):
    whole = plan("defenses={name: pgd_at, sweep: {lambda: [0, 0.2]}}")
    shorter, longer = (row.label for row in whole.rows)
    assert longer.startswith(shorter)
    assert [row.label for row in whole.only(shorter).rows] == [shorter]


def test_only_without_a_match_shows_how_rows_are_named(plan):
    with pytest.raises(
        RobustStackError, match=r"^--only zzz: no row matches; rows are named like 'tradeoff/resnet8/float"
    ):
        plan().only("zzz")
