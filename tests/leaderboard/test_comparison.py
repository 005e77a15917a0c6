"""Any two rows: what a comparison says, by which words they are named, and what cannot be compared."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from labelled_rows import row_of
from made_rows import changed, make_figure, make_row

import robuststack as rs
from robuststack.cli import call
from robuststack.errors import LeaderboardError
from robuststack.evidence.checks.verdict import Verdict
from robuststack.leaderboard.audit import AuditFigure, RowAudit
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.comparison import RowSource, compare_rows
from robuststack.leaderboard.difference import RowReader
from robuststack.leaderboard.row import Row
from robuststack.leaderboard.row_lookup import find_row


def source(made: tuple[Row, dict[str, Labels]]) -> RowSource:
    row, labels = made
    return RowSource(row, [row], RowReader(labels))


def test_seeds_that_disagree_leave_methods_undecided():
    first = source(row_of("float", {"ca": [450, 450, 450], "PGD-20": [300, 320, 280]}))
    second = source(row_of("oat", {"ca": [450, 450, 450], "PGD-20": [290, 282, 294]}))
    result = compare_rows(first, second)
    assert result.verdict == "undecided"
    assert result.decisive.scope == "methods"
    assert result.decisive.value == pytest.approx(100 * (900 - 866) / 1500, abs=1e-3)
    assert result.decisive.first_seeds == (60, 64, 56)
    # Equal on every image: what 500 images cannot exclude.
    clean = result.figures[0]
    assert (clean.value, clean.p, clean.verdict) == (0, 1, "undecided")
    assert -clean.low == clean.high == pytest.approx(0.735, abs=0.01)
    assert repr(result) == (
        "<digits/resnet8/float against digits/resnet8/oat: RA worst +2.3 [-6.4, +10.9] points, p 0.87,"
        " undecided (methods)\n"
        "  no audit at hand, so that stronger attacks may find more: digits/resnet8/float; digits/resnet8/oat>"
    )


def test_what_the_audits_found_is_told_with_the_verdict():
    first, second = (source(row_of(name, {"ca": [450], "PGD-20": [300]})) for name in ("float", "oat"))
    weak = Verdict(check="STEPS", verdict="weak", figure=9.0, threshold=1.0, jobs=(), text="PGD-40 finds more")
    figures = [AuditFigure(value=value, low=value - 5, high=value + 5, n=200) for value in (60.0, 51.0)]
    audit = RowAudit(
        label=first.row.label, images=200, others=300, jobs=(), ra=figures[0], ra_worst=figures[1], verdicts=(weak,)
    )
    sound = changed(audit, label=second.row.label, verdicts=(changed(weak, verdict="holds"),))
    result = compare_rows(replace(first, audit=audit), replace(second, audit=sound))
    assert result.doubts == (
        "audit: digits/resnet8/float is weak: STEPS; RA worst on its images is 60.0 [55.0, 65.0], and with stronger"
        " attacks 51.0 [46.0, 56.0]",
    )
    assert result.doubts[0] in repr(result)
    assert compare_rows(replace(first, audit=audit), second).doubts == (
        *result.doubts,
        "no audit at hand, so that stronger attacks may find more: digits/resnet8/oat",
    )


def test_settings_of_the_same_models_are_paired_seed_by_seed():
    moving = {"ca": [450, 450, 450], "PGD-20": [150, 250, 350]}
    lower = {"ca": [450, 450, 450], "PGD-20": [125, 225, 325]}
    apart = compare_rows(source(row_of("a", moving)), source(row_of("b", lower)))
    together = compare_rows(source(row_of("a", moving, models="m")), source(row_of("b", lower, models="m")))
    assert (apart.verdict, together.verdict) == ("undecided", "better")


def test_one_seed_tells_of_two_models():
    result = compare_rows(
        source(row_of("a", {"ca": [450], "PGD-20": [200]})), source(row_of("b", {"ca": [450], "PGD-20": [300]}))
    )
    assert (result.verdict, result.decisive.scope) == ("worse", "these two models")


def test_one_attack_is_one_question():
    first, second = (source(row_of(name, {"ca": [450], "PGD-20": [right]})) for name, right in (("a", 200), ("b", 207)))
    together, alone = compare_rows(first, second), compare_rows(first, second, attack="PGD-20")
    assert [figure.figure for figure in alone.figures] == ["RA PGD-20"]
    assert alone.decisive.p < together.decisive.p


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "validation"}, "judged on other images, split is 'test' in the one and 'validation' in the other"),
        (
            {"threat": rs.Threat(norm="linf", eps=0.2)},
            "the threat model is Linf eps 0.1 in the one and Linf eps 0.2 in the other",
        ),
        ({"protocol": "published"}, "'adaptive' and digits/resnet8/b by 'published'; choose a protocol of both"),
    ],
)
def test_what_cannot_be_compared_is_one_line(changes, message):
    figures = {"ca": [450], "PGD-20": [200]}
    with pytest.raises(LeaderboardError, match=message):
        compare_rows(source(row_of("a", figures)), source(row_of("b", figures, **changes)))


def test_other_data_of_the_same_name_and_missing_labels_are_refused():
    first, (row, labels) = (
        source(row_of("a", {"ca": [450], "PGD-20": [200]})),
        row_of("b", {"ca": [450], "PGD-20": [200]}),
    )
    other = {job: replace(judged, selection="digits-2") for job, judged in labels.items()}
    with pytest.raises(LeaderboardError, match="judged on other images, digits-1 and digits-2"):
        compare_rows(first, source((row, other)))
    labels.popitem()
    with pytest.raises(
        LeaderboardError, match=r"b: the labels of RA worst are missing \(b-PGD-20-0\); run its suite again"
    ):
        compare_rows(first, source((row, labels)))
    with pytest.raises(LeaderboardError, match="is compared with itself: name two rows"):
        compare_rows(first, first)
    with pytest.raises(LeaderboardError, match="no attack 'PGD' of both rows: did you mean 'PGD-20'"):
        compare_rows(first, source((row, labels)), attack="PGD")
    with pytest.raises(LeaderboardError, match="no protocol 'of' of both rows: valid: adaptive"):
        compare_rows(first, source((row, labels)), protocol="of")


def test_rows_are_named_by_words_of_their_labels():
    rows = [make_row(label=f"{data}/resnet8/{rest}") for data in ("digits", "tradeoff") for rest in
            ("none", "oat lambda=0", "oat lambda=0.2")]  # fmt: skip
    assert find_row(rows, "digits/resnet8/none") is rows[0]
    assert find_row(rows, "digits oat lambda=0.2") is rows[2]
    assert find_row(rows, "lambda=0 tradeoff") is rows[4]
    assert find_row(rows, "digits oat 0.2") is rows[2]
    with pytest.raises(LeaderboardError, match=r"'oat 0\.2' fits 2 rows, 'digits/resnet8/oat lambda=0\.2', 'tradeoff/"):
        find_row(rows, "oat 0.2")
    with pytest.raises(
        LeaderboardError, match=r"'oat' fits 4 rows, 'digits/resnet8/oat lambda=0', .*: name more of the label"
    ):
        find_row(rows, "oat")
    with pytest.raises(
        LeaderboardError, match=r"no row 'digits oats lambda=0\.2': did you mean 'digits/resnet8/oat lambda=0\.2'"
    ):
        find_row(rows, "digits oats lambda=0.2")
    with pytest.raises(LeaderboardError, match="no row '': valid: digits/resnet8/none"):
        find_row(rows, "")


# --- the command and Python, on a leaderboard that was run


FLOAT, OAT = "float lambda_n=1", "oat lambda=1"


def test_two_rows_of_a_leaderboard_are_compared(trained, capsys, tmp_path):
    path = str(trained.leaderboard / "small.json")
    assert call(["leaderboard", "compare", path, "--rows", FLOAT, OAT]) == 0
    out = capsys.readouterr().out
    for wanted in ("A  tradeoff/resnet8/float", "RA worst", "these two models", "hypervolume: A's defense - B's",
                   "RA at A's CA or more", "p and the verdict are corrected for 4 figures (Holm)"):  # fmt: skip
        assert wanted in out
    assert call(["leaderboard", "compare", path, "--rows", FLOAT, OAT, "--attack", "worst", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    (figure,) = result["figures"]
    rows = {row.label: row for row in trained.result.rows}
    assert figure["second"] == pytest.approx(rows[result["second"]].worst.value, abs=1e-3)
    assert call(["leaderboard", "compare", path, "--rows", FLOAT, OAT, "--reading", "any 2"]) == 0
    assert "reading any 2" in capsys.readouterr().out
    # A row of another leaderboard.
    other = tmp_path / "other.json"
    for suffix in (".json", ".labels.safetensors"):
        other.with_suffix(suffix).write_bytes((trained.leaderboard / f"small{suffix}").read_bytes())
    assert call(["leaderboard", "compare", path, str(other), "--rows", FLOAT, OAT]) == 0
    assert call(["leaderboard", "compare", path, str(other), "--rows", FLOAT, FLOAT]) == 0
    assert "+0.0 [" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "compare needs two leaderboards, or two rows of one: --rows A B"),
        (["--attack", "FGSM"], "--attack is for two rows: name them with --rows A B"),
        (["--rows", "oat", "none"], "'oat' fits 2 rows"),
        (["--rows", FLOAT, "none", "--reading", "any 9"], "any 9 needs 9 judging draws"),
        (["--rows", FLOAT, "none", "--reading", "all 9"], "'all 9' is no reading; write expected, majority R or any N"),
        (["--rows", "none", "none"], "tradeoff/resnet8/none is compared with itself: name two rows"),
    ],
)
def test_mistakes_are_one_line(trained, capsys, arguments, message):
    assert call(["leaderboard", "compare", str(trained.leaderboard / "small.json"), *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_python_compares_rows_of_a_board_and_of_a_result(trained):
    path = trained.leaderboard / "small.json"
    by_name = rs.compare(path, FLOAT, OAT)
    board = rs.load_board(path)
    rows = board.rows[-3], board.rows[-1]
    assert by_name == rs.compare(board, *rows) == rs.compare(board, rows[0].label, rows[1].label)
    assert by_name == rs.compare(trained.result, FLOAT, OAT)
    assert by_name.fronts is not None
    alone = rs.compare(*rows, store=trained.store)
    assert alone.figures == by_name.figures
    assert alone.fronts is None, "two rows alone have no curves"
    assert alone == rs.compare(*rows, labels=rs.load_labels(board))
    assert rs.compare(path, FLOAT, OAT, reading="any 2").decisive.first < by_name.decisive.first
    with pytest.raises(LeaderboardError, match="the labels of CA are missing"):
        rs.compare(*rows, labels={})
    for given in (rows[:1], (path, *rows, rows[0]), ("a", "b")):
        with pytest.raises(rs.RobustStackError, match="compare takes two rows, or a leaderboard and two of its rows"):
            rs.compare(*given)
    with pytest.raises(rs.RobustStackError, match="not a third row"):
        rs.compare(rows[0], *rows)


def test_rows_that_were_attacked_in_different_ways_are_not_decided_by_an_attack_that_both_have():
    """A weak attack that both have may put the one ahead that the strong attack of the other would not."""
    rights = {"float": {"PGD-20": 400, "PGD-7": 440}, "oat": {"APGD": 100, "PGD-7": 300}}
    first, second = (
        source(row_of(
            name, {"ca": [450], **{attack: [count] for attack, count in of.items()}},
            ra={attack: make_figure(50) for attack in (*of, "worst")}, attacks={attack: {} for attack in of},
        ))
        for name, of in rights.items()
    )  # fmt: skip
    result = compare_rows(first, second)
    assert (result.decisive.figure, result.decisive.verdict) == ("RA PGD-7", "better")
    assert result.verdict == "undecided"
    assert "undecided (these two models)" in repr(result)
    assert any("RA worst is not compared" in note for note in result.notes)
    assert any("no audit at hand" in doubt for doubt in result.doubts)
    assert compare_rows(first, second, attack="PGD-7").verdict == "better"


def test_the_only_attack_is_one_question():
    first = source(row_of("float", {"ca": [450], "PGD-20": [300]}))
    second = source(row_of("oat", {"ca": [450], "PGD-20": [290]}))
    result = compare_rows(first, second)
    assert [figure.figure for figure in result.figures] == ["CA", "RA worst"]
    assert compare_rows(first, second, attack="PGD-20").decisive.figure == "RA PGD-20"
    assert compare_rows(first, second, attack="worst").decisive.p <= result.decisive.p
