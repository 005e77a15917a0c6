"""Published comparisons, computed from rows in the same way; and keys of rows."""

from __future__ import annotations

from typing import Any

import pytest
from labelled_rows import row_of
from made_rows import changed, make_figure, make_row

from robuststack.evidence.checks.verdict import Verdict
from robuststack.leaderboard.audit import AuditFigure, RowAudit
from robuststack.leaderboard.board import ComparedClaim, OurNumber
from robuststack.leaderboard.claims import audited_verdict, claim_cells, compared, reference_cells
from robuststack.leaderboard.difference import RowReader
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
    ours = compared(claim(**changed), ROWS, RowReader({})).ours
    assert ours is not None
    assert ours.value == value
    assert (ours.of, ours.against) == pair


def test_the_mean_is_over_all_pairs() -> None:
    ours = compared(claim(take="mean"), ROWS, RowReader({})).ours
    assert ours == OurNumber(value=0, pairs=2, ahead=("float 0.0", "oat 1.0"))
    assert claim_cells(compared(claim(take="mean"), ROWS, RowReader({})), {})[-1] == "mean of 2 pairs"


def test_without_a_pair_there_is_no_number() -> None:
    none = compared(claim(of={"defense": "trades"}), ROWS, RowReader({}))
    assert none.ours is None
    assert claim_cells(none, {}) == [
        "paper", "RA above", "+14.5 points", "-", "not comparable (no such pair of rows)", "-",
    ]  # fmt: skip
    assert compared(claim(figure="latency"), ROWS, RowReader({})).ours is None
    by_nothing = [*ROWS[:2], row("oat", "lambda", 0.0, 0), row("oat", "lambda", 1.0, 0)]
    assert compared(claim(how="ratio"), by_nothing, RowReader({})).ours is None


def test_claims_and_references_are_written_out() -> None:
    assert claim_cells(compared(claim(), ROWS, RowReader({})), {}) == [
        "paper", "RA above", "+14.5 points", "+10.00 points", "not comparable (labels are missing)",
        "float 0.0 against oat 0.0",
    ]  # fmt: skip
    ratio = claim(how="ratio", published=1.43)
    assert claim_cells(compared(ratio, ROWS, RowReader({})), {})[2:4] == ["1.43x", "1.50x"]
    reference = Reference(source="PNI", defense="PNI-W", setting="CIFAR-10", ca=84.89, ra={"FGSM": 54.48})
    assert reference_cells(reference) == ["PNI-W", "CIFAR-10", "84.89", "FGSM 54.48", "-", "PNI"]
    assert reference_cells(Reference(source="s", defense="d")) == ["d", "-", "-", "-", "-", "s"]


def verdict(published: float, of: dict[str, list[int]], against: dict[str, list[int]], **changes: Any) -> ComparedClaim:
    """What becomes of a claim if so many images are right in each training seed."""
    (first, labels), (second, others) = row_of("float", of), row_of("oat", against)
    return compared(claim(published=published, match={}, **changes), [first, second], RowReader(labels | others))


@pytest.mark.parametrize(
    ("ours", "theirs", "published", "expected"),
    [
        ([300, 302, 298], [200, 201, 199], 14.5, "confirmed"),
        ([300, 302, 298], [200, 201, 199], -14.5, "refuted"),
        ([200, 201, 199], [300, 302, 298], 14.5, "refuted"),
        ([300, 320, 280], [290, 282, 294], 14.5, "undecided"),
        ([300, 302, 298], [200, 201, 199], 0.0, "not comparable"),
    ],
)
def test_a_claim_is_judged_by_the_paired_test(
    ours: list[int], theirs: list[int], published: float, expected: str
) -> None:
    clean = [450, 450, 450]
    judged = verdict(published, {"ca": clean, "PGD-20": ours}, {"ca": clean, "PGD-20": theirs}, figure="ra.PGD-20")
    assert judged.verdict == expected
    assert judged.ours is not None
    assert judged.ours.low is not None
    assert judged.ours.high is not None
    # The interval is that of the labels; `value` is of the printed figures, which these rows share.
    assert (judged.ours.low > 0, judged.ours.high < 0) == {
        "undecided": (False, False),
    }.get(expected, (sum(ours) > sum(theirs), sum(ours) < sum(theirs)))


def test_one_training_seed_tells_of_the_models_alone() -> None:
    judged = verdict(14.5, {"ca": [450], "PGD-20": [300]}, {"ca": [450], "PGD-20": [200]}, figure="ca")
    assert judged.verdict == "undecided"
    judged = verdict(14.5, {"ca": [450], "PGD-20": [300]}, {"ca": [450], "PGD-20": [200]})
    assert (judged.verdict, judged.why.partition("; ")[2]) == ("confirmed", "of these two models")


def test_the_best_of_many_pairs_is_corrected_for_all_of_them() -> None:
    """Of one pair p is 0.02 or so; of the largest of eight it is no evidence."""
    (first, labels), rows = row_of("float", {"ca": [450], "PGD-20": [300]}), []
    for place in range(8):
        row, more = row_of("oat", {"ca": [450], "PGD-20": [294]})
        labels |= {f"{job} {place}": kept for job, kept in more.items()}
        scores = {
            name: {run: f"{job} {place}" for run, job in runs.items()}
            for name, runs in row.jobs.scores["adaptive"].items()
        }
        rows.append(changed(row, label=f"oat {place}", jobs=changed(row.jobs, scores={"adaptive": scores})))
    one = compared(claim(match={}), [first, rows[0]], RowReader(labels))
    eight = compared(claim(match={}), [first, *rows], RowReader(labels))
    assert (one.verdict, eight.verdict) == ("confirmed", "undecided")
    assert eight.why.startswith("p 0.")
    assert "of 8 pairs" in eight.why


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"figure": "parameters", "how": "ratio", "published": 1.5}, "confirmed"),
        ({"figure": "parameters", "how": "ratio", "published": 0.9}, "refuted"),
        ({"figure": "train_seconds_per_epoch", "how": "ratio", "published": 1.43}, "confirmed"),
        ({"figure": "train_seconds_per_epoch", "published": -1}, "refuted"),
        ({"figure": "latency_ms.1.median", "how": "ratio", "published": 1.43}, "not comparable"),
        ({"figure": "ra.APGD", "published": 3}, "not comparable"),
    ],
)
def test_counts_and_times_are_judged_by_their_side(changes: dict[str, Any], expected: str) -> None:
    rows = [
        row("float", "lambda_n", 0.0, 30, train_seconds_per_epoch=1.5, parameters=20),
        row("oat", "lambda", 0.0, 20, train_seconds_per_epoch=1.0, parameters=10),
    ]
    assert compared(claim(**changes), rows, RowReader({})).verdict == expected
    alike = [rows[0], changed(rows[1], train_seconds_per_epoch=1.45)]
    if changes["figure"].startswith("train"):
        assert compared(claim(**changes), alike, RowReader({})).verdict == "undecided"


@pytest.mark.parametrize(
    ("leader", "other", "stands"),
    [((60, 70), (20, 30), True), ((40, 50), (45, 55), False), ((60, 70), None, False)],
)
def test_a_weak_row_that_is_ahead_after_its_audit_too_leads(leader: Any, other: Any, stands: bool) -> None:
    ra = {"ra": {"worst": make_figure(40), "PGD-20": make_figure(40)}}
    (first, labels), (second, others) = (
        row_of(name, {"ca": [450], "PGD-20": [right]}) for name, right in (("float", 300), ("oat", 200))
    )
    made = compared(claim(match={}), [first, changed(second, **ra)], RowReader(labels | others))
    weak = Verdict(check="STEPS", verdict="weak", figure=9.0, threshold=1.0, jobs=(), text="")

    def audit(label: str, limits: Any) -> RowAudit:
        figure = AuditFigure(value=sum(limits) / 2, low=limits[0], high=limits[1], n=200)
        return RowAudit(label=label, images=200, others=200, jobs=(), ra=None, ra_worst=figure, verdicts=(weak,))

    audits = {first.label: audit(first.label, leader)} | ({second.label: audit(second.label, other)} if other else {})
    assert audited_verdict(made, audits).startswith("confirmed" if stands else "undecided (the audit does not believe")


@pytest.mark.parametrize("published", [0.9, 1.5])
def test_equal_counts_decide_nothing(published: float) -> None:
    rows = [row("float", "lambda_n", 0.0, 30, parameters=20), row("oat", "lambda", 0.0, 20, parameters=20)]
    made = compared(claim(figure="parameters", how="ratio", published=published), rows, RowReader({}))
    assert (made.verdict, made.why) == ("undecided", "counts that are equal")


def test_a_mean_of_counts_is_decided_if_each_pair_agrees() -> None:
    rows = [row("float", "lambda_n", place, 30, parameters=20) for place in (0.0, 1.0)]
    for counts, expected in (((10, 15), "confirmed"), ((10, 40), "undecided"), ((10, 20), "undecided")):
        others = [row("oat", "lambda", place, 20, parameters=count) for place, count in enumerate(counts)]
        made = compared(claim(figure="parameters", published=1, take="mean"), [*rows, *others], RowReader({}))
        assert made.verdict == expected, counts


def test_of_many_times_the_middle_decides_and_not_the_largest_ratio() -> None:
    seconds = [1.0, 0.96, 1.04, 0.98, 1.02]
    rows = [row("float", "lambda_n", place, 30, train_seconds_per_epoch=1.0) for place in range(5)]
    rows += [row("oat", "lambda", place, 20, train_seconds_per_epoch=took / 1.06) for place, took in enumerate(seconds)]
    asked = claim(figure="train_seconds_per_epoch", how="ratio", published=1.43, match={})
    made = compared(asked, rows, RowReader({}))
    assert made.ours
    assert made.ours.value > 1.1, "the largest"
    assert (made.verdict, made.why) == ("undecided", "times within 10 % of each other, the middle of 25 pairs")


def test_of_a_mean_every_row_that_is_ahead_is_held_against_the_audit() -> None:
    firsts = [row_of(f"float {place}", {"ca": [450], "PGD-20": [300]}) for place in (0, 1)]
    second, labels = row_of("oat", {"ca": [450], "PGD-20": [200]})
    rows = [changed(made, defense="float") for made, _ in firsts]
    labels = labels | firsts[0][1] | firsts[1][1]
    behind = changed(second, ra={"worst": make_figure(40), "PGD-20": make_figure(40)})
    made = compared(claim(match={}, take="mean"), [*rows, behind], RowReader(labels))
    assert made.ours
    assert (made.verdict, made.ours.ahead) == ("confirmed", tuple(leader.label for leader in rows))
    weak = Verdict(check="STEPS", verdict="weak", figure=9.0, threshold=1.0, jobs=(), text="")
    for doubted in rows:
        audit = RowAudit(label=doubted.label, images=200, others=200, jobs=(), ra=None, ra_worst=None, verdicts=(weak,))
        assert audited_verdict(made, {doubted.label: audit}).startswith("undecided (the audit does not believe")


def test_the_mean_of_pairs_is_decided_if_they_agree() -> None:
    strong = verdict(14.5, {"ca": [450], "PGD-20": [300]}, {"ca": [450], "PGD-20": [200]}, take="mean")
    assert (strong.verdict, strong.why) == ("confirmed", "each pair by itself")


@pytest.mark.parametrize("found", ["weak", "broken", "holds"])
@pytest.mark.parametrize("ahead", ["float", "oat"])
def test_a_lead_that_the_audit_does_not_believe_decides_nothing(found: str, ahead: str) -> None:
    many, few = {"ca": [450], "PGD-20": [300]}, {"ca": [300], "PGD-20": [200]}
    sides = (many, few) if ahead == "float" else (few, many)
    ra = {"ra": {"worst": make_figure(40), "PGD-20": make_figure(40)}}
    (first, labels), (second, others) = row_of("float", sides[0]), row_of("oat", sides[1])
    rows = [first, changed(second, **ra)] if ahead == "float" else [changed(first, **ra), second]
    robust, clean = (
        compared(claim(match={}, figure=figure), rows, RowReader(labels | others)) for figure in ("ra", "ca")
    )
    told = "confirmed" if ahead == "float" else "refuted"
    said = Verdict(check="STEPS", verdict=found, figure=9.0, threshold=1.0, jobs=(), text="")
    for row in rows:
        audit = RowAudit(label=row.label, images=200, others=200, jobs=(), ra=None, ra_worst=None, verdicts=(said,))
        doubted = found != "holds" and row.defense == ahead
        expected = "undecided (the audit does not believe" if doubted else told
        assert audited_verdict(robust, {row.label: audit}).startswith(expected)
        assert audited_verdict(clean, {row.label: audit}).startswith(told)
