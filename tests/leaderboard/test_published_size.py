"""Whether a counted size gives a printed one."""

from __future__ import annotations

from decimal import Decimal

import pytest

from robuststack.leaderboard.published_size import agreement


@pytest.mark.parametrize(
    ("printed", "value", "expected"),
    [
        ("21.28", "21.282122", "yes"),
        ("2.25", "2.248994", "rounded"),
        ("3.22", "3.226682", "cut off"),
        ("31.4", "31.421002", "yes"),
        ("31.40", "31.421002", "no"),
        ("1.47", "1.4756", "cut off"),
        ("1.47", "1.566", "no"),
        ("12", "12.5", "cut off"),
        ("13", "12.5", "rounded"),
    ],
)
def test_a_figure_agrees_rounded_or_cut_off_at_its_own_digits(printed, value, expected):
    assert agreement(printed, Decimal(value)) == expected
