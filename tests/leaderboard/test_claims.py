"""Published comparisons, computed from rows in the same way; and keys of rows."""

from __future__ import annotations

from typing import Any

import pytest
from made_rows import make_figure, make_row

from robuststack.leaderboard.board import OurNumber
from robuststack.leaderboard.claims import claim_cells, compared, reference_cells
from robuststack.leaderboard.keys import has, look_up, number
from robuststack.leaderboard.row import Row
from robuststack.suite.report import Claim, Reference


def row(defense: str, knob: str, value: float, ra: float, **more: Any) -> Row:
    return make_row(**{
        "label": f"{defense} {value}", "defense": defense, "point": {knob: value},
        "ra": {"worst": make_figure(ra), "PGD-20": make_figure(ra + 1)}, "options": {"lambdas": [0, 0.5, 1]}, **more,
    })  # fmt: skip


ROWS = [
    row("float", "lambda_n", 0.0, 30, train_seconds_per_epoch=1.0),
    row("float", "lambda_n", 1.0, 60, train_seconds_per_epoch=1.0),
    row("oat", "lambda", 0.0, 20, train_seconds_per_epoch=2.0),
    row("oat", "lambda", 1.0, 70, train_seconds_per_epoch=3.0),
    row("oat", "lambda", 0.0, 99, train_seconds_per_epoch=9.0, variant=["tradeoff", "resnet8"]),
]


def claim(**changed: Any) -> Claim:
    base = {
        "source": "paper", "claim": "RA above", "published": 14.5, "figure": "ra",
        "of": {"defense": "float"}, "against": {"defense": "oat"}, "match": {"point.lambda_n": "point.lambda"},
    }  # fmt: skip
    return Claim(**{**base, **changed})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("defense", "float"),
        ("point.lambda_n", 0.0),
        ("ra", make_figure(30)),
        ("ra.PGD-20", make_figure(31)),
        ("options.lambdas", 3),
        ("ra.missing", None),
        ("missing.more", None),
        ("defense.more", None),
    ],
)
def test_keys_reach_into_a_row(key: str, value: Any) -> None:
    assert look_up(ROWS[0], key) == value


def test_a_figure_is_its_value_and_words_are_no_number() -> None:
    assert number(ROWS[0], "ra") == 30
    assert number(ROWS[0], "train_seconds_per_epoch") == 1
    assert number(ROWS[0], "defense") is None
    assert number(ROWS[0], "stochastic") is None
    assert has(ROWS[0], {"defense": "float", "point.lambda_n": 0})
    assert not has(ROWS[0], {"defense": "float", "point.lambda_n": 1})


@pytest.mark.parametrize(
    ("changed", "value", "pair"),
    [
        ({}, 10, ("float 0.0", "oat 0.0")),
        ({"take": "min"}, -10, ("float 1.0", "oat 1.0")),
        ({"match": {}}, 40, ("float 1.0", "oat 0.0")),
        ({"figure": "train_seconds_per_epoch", "how": "ratio", "of": {"defense": "oat"}, "against": {"defense": "float"},
          "match": {"point.lambda": "point.lambda_n"}}, 3, ("oat 1.0", "float 1.0")),
        ({"figure": "ra.PGD-20", "against_figure": "ra"}, 11, ("float 0.0", "oat 0.0")),
    ],
)  # fmt: skip
def test_a_claim_is_computed_over_the_pairs_of_one_table(changed: dict[str, Any], value: float, pair: Any) -> None:
    ours = compared(claim(**changed), ROWS).ours
    assert ours is not None
    assert ours.value == value
    assert (ours.of, ours.against) == pair


def test_the_mean_is_over_all_pairs() -> None:
    ours = compared(claim(take="mean"), ROWS).ours
    assert ours == OurNumber(value=0, pairs=2)
    assert claim_cells(compared(claim(take="mean"), ROWS))[-1] == "mean of 2 pairs"


def test_without_a_pair_there_is_no_number() -> None:
    none = compared(claim(of={"defense": "trades"}), ROWS)
    assert none.ours is None
    assert claim_cells(none) == ["paper", "RA above", "+14.5 points", "no such pair of rows", "-"]
    assert compared(claim(figure="latency"), ROWS).ours is None
    by_nothing = [*ROWS[:2], row("oat", "lambda", 0.0, 0), row("oat", "lambda", 1.0, 0)]
    assert compared(claim(how="ratio"), by_nothing).ours is None


def test_claims_and_references_are_written_out() -> None:
    assert claim_cells(compared(claim(), ROWS)) == [
        "paper", "RA above", "+14.5 points", "+10.00 points", "float 0.0 against oat 0.0",
    ]  # fmt: skip
    ratio = claim(how="ratio", published=1.43)
    assert claim_cells(compared(ratio, ROWS))[2:4] == ["1.43x", "1.50x"]
    reference = Reference(source="PNI", defense="PNI-W", setting="CIFAR-10", ca=84.89, ra={"FGSM": 54.48})
    assert reference_cells(reference) == ["PNI-W", "CIFAR-10", "84.89", "FGSM 54.48", "-", "PNI"]
    assert reference_cells(Reference(source="s", defense="d")) == ["d", "-", "-", "-", "-", "s"]
