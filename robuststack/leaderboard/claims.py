"""What publications say, beside what our rows say: comparisons computed in the same way, and quoted figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from robuststack.leaderboard.board import ComparedClaim, OurNumber
from robuststack.leaderboard.keys import has, look_up, number
from robuststack.leaderboard.row import Row
from robuststack.suite.report import Claim, Reference

TAKE: dict[str, Callable[[list[float]], float]] = {"max": max, "min": min, "mean": statistics.fmean}


def compared(claim: Claim, rows: Sequence[Row]) -> ComparedClaim:
    """The claim with `ours`: the same number from our rows, and between which of them. Rows are compared only if data
    set, network and threat model agree; None if no pair does."""
    candidates = [
        (_difference_or_ratio(claim, row, other), row.label, other.label)
        for row in rows
        for other in rows
        if has(row, claim.of) and has(other, claim.against) and _alike(row, other) and _matched(claim, row, other)
    ]
    pairs = [(value, label, against) for value, label, against in candidates if value is not None]
    ours = None
    if pairs:
        value = TAKE[claim.take]([value for value, _, _ in pairs])
        of, against = None, None
        if claim.take != "mean":
            of, against = next((label, other) for candidate, label, other in pairs if candidate == value)
        ours = OurNumber(value=round(float(value), 4), pairs=len(pairs), of=of, against=against)
    return ComparedClaim(**claim.model_dump(), ours=ours)


def _alike(row: Row, other: Row) -> bool:
    return row.variant == other.variant and row.threat == other.threat


def _matched(claim: Claim, row: Row, other: Row) -> bool:
    return all(look_up(row, key) == look_up(other, against) for key, against in claim.match.items())


def _difference_or_ratio(claim: Claim, row: Row, other: Row) -> float | None:
    a, b = number(row, claim.figure), number(other, claim.against_figure or claim.figure)
    if a is None or b is None:
        return None
    if claim.how == "difference":
        return a - b
    return a / b if b else None


def claim_cells(claim: ComparedClaim) -> list[str]:
    """source, claim, published, ours, between which rows."""
    sign, unit = ("+", " points") if claim.how == "difference" else ("", "x")
    ours = claim.ours
    between = "-"
    if ours:
        several = f"{ours.pairs} pair{'s' if ours.pairs > 1 else ''}"
        between = f"{ours.of} against {ours.against}" if ours.of else f"mean of {several}"
    return [
        claim.source,
        claim.claim,
        f"{claim.published:{sign}g}{unit}",
        f"{ours.value:{sign}.2f}{unit}" if ours else "no such pair of rows",
        between,
    ]


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
