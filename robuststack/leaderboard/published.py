"""What publications say, beside what our rows say: reference rows, and comparisons computed in the same way."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robuststack.leaderboard.keys import Row, has, look_up, number
from robuststack.suite.report import Claim

TAKE: dict[str, Callable[[list[float]], float]] = {"max": max, "min": min, "mean": statistics.fmean}


def compared(claim: Claim, rows: Sequence[Row]) -> dict[str, Any]:
    """The claim as data, with `ours`: the same number from our rows, and between which of them. Rows are compared only
    where data set, network and threat model agree; None where no pair does."""
    pairs = [
        (_number(claim, one, other), one["label"], other["label"])
        for one in rows
        for other in rows
        if has(one, claim.of) and has(other, claim.against) and _alike(one, other) and _matched(claim, one, other)
    ]
    found = [(value, label, against) for value, label, against in pairs if value is not None]
    ours: dict[str, Any] | None = None
    if found:
        value = TAKE[claim.take]([value for value, _, _ in found])
        ours = {"value": round(float(value), 4), "pairs": len(found)}
        if claim.take != "mean":
            ours["of"], ours["against"] = next((one, other) for candidate, one, other in found if candidate == value)
    return {**claim.resolved(), "ours": ours}


def _alike(one: Row, other: Row) -> bool:
    return bool(one["variant"] == other["variant"] and one["threat"] == other["threat"])


def _matched(claim: Claim, one: Row, other: Row) -> bool:
    return all(look_up(one, key) == look_up(other, against) for key, against in claim.match.items())


def _number(claim: Claim, one: Row, other: Row) -> float | None:
    a, b = number(one, claim.figure), number(other, claim.against_figure or claim.figure)
    if a is None or b is None:
        return None
    if claim.how == "difference":
        return a - b
    return a / b if b else None


def claim_cells(claim: Mapping[str, Any]) -> list[str]:
    """source, claim, published, ours, between which rows."""
    sign, unit = ("+", " points") if claim["how"] == "difference" else ("", "x")
    ours = claim["ours"]
    between = "-"
    if ours:
        several = f"{ours['pairs']} pair{'s' if ours['pairs'] > 1 else ''}"
        between = f"{ours['of']} against {ours['against']}" if "of" in ours else f"mean of {several}"
    return [
        claim["source"],
        claim["claim"],
        f"{claim['published']:{sign}g}{unit}",
        f"{ours['value']:{sign}.2f}{unit}" if ours else "no such pair of rows",
        between,
    ]


def reference_cells(reference: Mapping[str, Any]) -> list[str]:
    """defense, setting, CA, RA by attack, note, source."""
    ca = reference["ca"]
    return [
        reference["defense"],
        reference["setting"] or "-",
        f"{ca:g}" if ca is not None else "-",
        ", ".join(f"{attack} {value:g}" for attack, value in reference["ra"].items()) or "-",
        reference["note"] or "-",
        reference["source"],
    ]
