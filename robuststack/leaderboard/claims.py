"""What publications say, beside what our rows say: comparisons computed in the same way, and quoted figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from robuststack.errors import LeaderboardError
from robuststack.evidence import decisions
from robuststack.evidence.decisions import Comparison, holm
from robuststack.leaderboard.audit import RowAudit
from robuststack.leaderboard.board import ClaimVerdict, ComparedClaim, OurNumber
from robuststack.leaderboard.difference import RowReader
from robuststack.leaderboard.keys import COUNTS, has, look_up, number
from robuststack.leaderboard.record import percent
from robuststack.leaderboard.row import CLEAN, WORST, Row
from robuststack.leaderboard.row_labels import MissingLabels, shares_models
from robuststack.suite.report import Claim, Reference

TAKE: dict[str, Callable[[list[float]], float]] = {"max": max, "min": min, "mean": statistics.fmean}
TIMES = ("train_seconds_per_epoch", "latency_ms")
ALIKE = 0.1
"""Two times that differ by less than this part of the smaller are alike: the same work takes other times on other days."""


@dataclass(frozen=True)
class _Pair:
    value: float
    of: Row
    against: Row


@dataclass(frozen=True)
class _Judged:
    """Which side our rows are on, if it is known."""

    ahead: bool | None
    """Whether the one side has more than the other; None if that is open."""
    why: str
    comparison: Comparison | None = None


def compared(claim: Claim, rows: Sequence[Row], reader: RowReader) -> ComparedClaim:
    """The claim with `ours`: the same number from our rows, and between which of them. Rows are compared only if data
    set, network and threat model agree; None if no pair does.

    The verdict is about who is ahead, not about by how much, which data and network decide. Accuracies are compared by the
    paired test that compares rows, corrected (Holm) for all pairs that the number was taken from; `reader` reads the labels
    behind the rows. Counts are what they are, and times within `ALIKE` of each other are undecided.
    """
    pairs = _pairs(claim, rows)
    if not pairs:
        return _told(claim, None, "not comparable", "no such pair of rows")
    values = [pair.value for pair in pairs]
    value = TAKE[claim.take](values)
    taken = None if claim.take == "mean" else pairs[values.index(value)]
    even = _even(claim)
    judged = _judged(claim, pairs, taken, value - even, reader)
    comparison = judged.comparison if isinstance(judged, _Judged) and claim.how == "difference" else None
    ours = OurNumber(
        value=round(float(value), 4),
        pairs=len(pairs),
        of=taken.of.label if taken else None,
        against=taken.against.label if taken else None,
        low=percent(comparison.low) if comparison else None,
        high=percent(comparison.high) if comparison else None,
        ahead=_leaders(claim, pairs, taken),
    )
    if isinstance(judged, str):
        return _told(claim, ours, "not comparable", judged)
    if claim.published == even:
        return _told(claim, ours, "not comparable", "published as equal, which no test shows")
    if judged.ahead is None:
        return _told(claim, ours, "undecided", judged.why)
    return _told(claim, ours, "confirmed" if judged.ahead == (claim.published > even) else "refuted", judged.why)


def _leaders(claim: Claim, pairs: Sequence[_Pair], taken: _Pair | None) -> tuple[str, ...]:
    """The rows that are ahead in the pairs that a verdict rests on: the one that was taken, or all of a mean and where even
    the largest, or the smallest, lies on the other side."""
    even = _even(claim)
    on_other_side = taken is not None and (taken.value < even if claim.take == "max" else taken.value > even)
    resting = pairs if taken is None or on_other_side else [taken]
    leaders = (pair.of if pair.value > even else pair.against for pair in resting if pair.value != even)
    return tuple(dict.fromkeys(row.label for row in leaders))


def _even(claim: Claim) -> float:
    """The number of two sides that have the same."""
    return 0.0 if claim.how == "difference" else 1.0


def _told(claim: Claim, ours: OurNumber | None, verdict: ClaimVerdict, why: str) -> ComparedClaim:
    return ComparedClaim(**claim.model_dump(), ours=ours, verdict=verdict, why=why)


def _pairs(claim: Claim, rows: Sequence[Row]) -> list[_Pair]:
    candidates = [
        (_difference_or_ratio(claim, row, other), row, other)
        for row in rows
        for other in rows
        if has(row, claim.of) and has(other, claim.against) and _alike(row, other) and _matched(claim, row, other)
    ]
    return [_Pair(value, row, other) for value, row, other in candidates if value is not None]


def _alike(row: Row, other: Row) -> bool:
    return row.variant == other.variant and row.threat == other.threat


def _matched(claim: Claim, row: Row, other: Row) -> bool:
    return all(look_up(row, key) == look_up(other, against) for key, against in claim.match.items())


def _difference_or_ratio(claim: Claim, row: Row, other: Row) -> float | None:
    a, b = _numbers(claim, row, other)
    if a is None or b is None:
        return None
    if claim.how == "difference":
        return a - b
    return a / b if b else None


def _numbers(claim: Claim, row: Row, other: Row) -> tuple[float | None, float | None]:
    return number(row, claim.figure), number(other, claim.against_figure or claim.figure)


def _judged(
    claim: Claim, pairs: Sequence[_Pair], taken: _Pair | None, beyond_even: float, reader: RowReader
) -> _Judged | str:
    """Which side is ahead in the pair that was taken, or in all if their mean was; why it cannot be said otherwise."""
    if claim.figure in COUNTS:
        counted = [beyond_even] if taken else [pair.value - _even(claim) for pair in pairs]
        if all(count > 0 for count in counted) or all(count < 0 for count in counted):
            return _Judged(beyond_even > 0, "counted")
        return _Judged(None, "counts that are equal" if taken else "not the same side in each pair")
    if claim.figure.partition(".")[0] in TIMES:
        # The largest of several ratios is above 1 by chance alone; their middle is not.
        ratio = statistics.median(
            (a or 0.0) / (b or 1.0) for a, b in (_numbers(claim, pair.of, pair.against) for pair in pairs)
        )
        of = f", the middle of {len(pairs)} pairs" if len(pairs) > 1 else ""
        if 1 / (1 + ALIKE) < ratio < 1 + ALIKE:
            return _Judged(None, f"times within {100 * ALIKE:.0f} % of each other{of}")
        return _Judged(ratio > 1, f"timed here{of}")
    try:
        tested = [_tested(claim, pair, reader) for pair in pairs]
    except MissingLabels:
        return "labels are missing"
    except LeaderboardError as error:
        return str(error)
    corrected = holm([comparison.p for comparison in tested])
    sides = [comparison.verdict(p) for comparison, p in zip(tested, corrected, strict=True)]
    if taken is None:
        side = sides[0] if len({*sides}) == 1 else "undecided"
        return _Judged(_ahead(side), "each pair by itself")
    place = pairs.index(taken)
    why = f"p {corrected[place]:.2g}" + (f", of {len(pairs)} pairs" if len(pairs) > 1 else "")
    if tested[place].scope != "methods":
        why += f"; of {tested[place].scope}"
    return _Judged(_ahead(sides[place]), why, tested[place])


def _ahead(side: str) -> bool | None:
    return None if side == "undecided" else side == "better"


def _tested(claim: Claim, pair: _Pair, reader: RowReader) -> Comparison:
    """The paired test of an accuracy of two rows.

    Raises:
        LeaderboardError: there is none: the key is no accuracy with labels, or images or attacks are others.
    """
    keys = (claim.figure, pair.of), (claim.against_figure or claim.figure, pair.against)
    places = [(row, *_figure(row, key)) for key, row in keys]
    readings = [reader.read(*place) for place in places]
    (first, images), (second, other_images) = readings
    if images != other_images:
        raise LeaderboardError("judged on other images")
    attacks = [{*row.scores[protocol].single_attacks} for row, protocol, figure in places if figure == WORST]
    if any(these != attacks[0] for these in attacks):
        raise LeaderboardError("attacked in other ways")
    return decisions.difference(first, second, same_models=shares_models(pair.of, pair.against))


def _figure(row: Row, key: str) -> tuple[str, str]:
    """The protocol and the figure of a row that a key names.

    Raises:
        LeaderboardError: the key names no accuracy that has labels.
    """
    for protocol in sorted(row.protocols, key=len, reverse=True):
        if key.startswith(f"protocols.{protocol}."):
            break
    else:
        protocol = row.protocol
    rest = key.removeprefix(f"protocols.{protocol}.")
    figure = {"ca": CLEAN, "ra": WORST}.get(rest) or rest.removeprefix("ra.").removeprefix("shift.")
    if figure not in row.figures(protocol):
        raise LeaderboardError(f"there is no test of {key}")
    return protocol, figure


def claim_cells(claim: ComparedClaim, audits: Mapping[str, RowAudit]) -> list[str]:
    """source, claim, published, ours, verdict, between which rows."""
    sign, unit = ("+", " points") if claim.how == "difference" else ("", "x")
    ours = claim.ours
    between, number = "-", "-"
    if ours:
        several = f"{ours.pairs} pair{'s' if ours.pairs > 1 else ''}"
        between = f"{ours.of} against {ours.against}" if ours.of else f"mean of {several}"
        interval = "" if ours.low is None else f" [{ours.low:+.1f}, {ours.high:+.1f}]"
        number = f"{ours.value:{sign}.2f}{interval}{unit}"
    return [
        claim.source,
        claim.claim,
        f"{claim.published:{sign}g}{unit}",
        number,
        audited_verdict(claim, audits),
        between,
    ]


def audited_verdict(claim: ComparedClaim, audits: Mapping[str, RowAudit]) -> str:
    """`refuted (p 0.003)`. A lead in robust accuracy of a row that the audit does not believe decides nothing: stronger
    attacks leave less of it. Of the row behind they leave less still. It stands if the row is `weak`, and what the audit
    leaves of it is still above what it leaves of the other, interval by interval."""
    decided = claim.ours and claim.verdict in ("confirmed", "refuted")
    if (
        claim.ours
        and decided
        and any(".ra." in f".{key}." for key in (claim.figure, claim.against_figure or claim.figure))
    ):
        for label in claim.ours.ahead:
            row = audits.get(label)
            if row and (row.broken or row.weak) and not _still_ahead(claim, row, audits):
                return f"undecided (the audit does not believe RA of {row.label}, which is ahead)"
    return f"{claim.verdict} ({claim.why})" if claim.why else claim.verdict


def _still_ahead(claim: ComparedClaim, leader: RowAudit, audits: Mapping[str, RowAudit]) -> bool:
    """Whether a weak row is ahead after the audit of both rows, which is of their headline's protocol alone."""
    assert claim.ours
    headline = all(key.partition(".")[0] == "ra" for key in (claim.figure, claim.against_figure or claim.figure))
    behind = {claim.ours.of, claim.ours.against} - {leader.label}
    other = audits.get(behind.pop() or "") if len(behind) == 1 else None
    if not headline or leader.broken or other is None or leader.ra_worst is None or other.ra_worst is None:
        return False
    return not other.broken and leader.ra_worst.low > other.ra_worst.high


def reference_cells(reference: Reference) -> list[str]:
    """defense, setting, CA, RA by attack, note, source."""
    return [
        reference.defense,
        reference.setting or "-",
        f"{reference.ca:g}" if reference.ca is not None else "-",
        ", ".join(f"{attack} {value:g}" for attack, value in reference.ra.items()) or "-",
        reference.note or "-",
        reference.source,
    ]
