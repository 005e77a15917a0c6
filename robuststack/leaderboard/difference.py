"""The figures of two rows on the same images, as differences with a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from robuststack.did_you_mean import did_you_mean
from robuststack.errors import LeaderboardError
from robuststack.evidence import decisions
from robuststack.evidence.decisions import Comparison, Scope, Verdict, holm
from robuststack.evidence.readings import EXPECTED, Reading
from robuststack.evidence.row_reading import RowReading, read_row
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.record import percent
from robuststack.leaderboard.row import CLEAN, WORST, Figure, Row
from robuststack.leaderboard.row_labels import figure_labels, shares_models
from robuststack.wording import points_text, threat_text

IMAGES = ("dataset", "dataset_options", "split", "limit", "limit_rule", "n")
"""What of a row says which images it was judged on."""


@dataclass(frozen=True)
class Difference:
    """One figure of two rows: accuracies in percent, differences in points."""

    figure: str
    """`CA`, `CA` and the natural shift, `RA worst`, or `RA` and the attack; behind it the protocol, in brackets, if it is
    not the headline's."""
    first: float
    second: float
    value: float
    """The first minus the second."""
    low: float
    high: float
    """The 95 % interval of this difference alone."""
    p: float | None
    """Two-sided, with Holm's correction for all that were asked together; None if labels are missing."""
    verdict: Verdict | Literal["no verdict"]
    """What the first is, compared with the second; `no verdict` if labels are missing."""
    scope: Scope | Literal["intervals alone"]
    """What the verdict is about. With one training seed it is about the trained models and not about the methods."""
    first_seeds: tuple[float, ...]
    second_seeds: tuple[float, ...]
    """The figure of each training seed."""

    @property
    def text(self) -> str:
        """`+2.2 [-10.9, +15.3]`, in points."""
        return points_text(self.value, self.low, self.high)


class RowReader:
    """Readings of the rows of a leaderboard; each is made once for all the pairs that it is in."""

    def __init__(self, labels: Mapping[str, Labels], reading: Reading = EXPECTED) -> None:
        self.reading = reading
        self._labels = labels
        self._kept: dict[tuple[str, ...], tuple[RowReading, str]] = {}

    def read(self, row: Row, protocol: str, figure: str) -> tuple[RowReading, str]:
        """The reading of `ca`, a natural shift, an attack or `worst`, and the name of the images.

        Raises:
            MissingLabels: labels are missing.
            TooFewDraws: the row has too few draws for the reading.
        """
        # Rows of two runs may have one label.
        jobs = (job for runs in row.judge_jobs(protocol).values() for job in runs.values())
        key = protocol, figure, row.label, *jobs
        if key not in self._kept:
            behind = figure_labels(row, protocol, figure, self._labels)
            # All draws of a deterministic point are the one that was kept: every reading of it is the same.
            alike = len(behind.models[0][0][0]) == 1 and not (row.stochastic and protocol == row.protocol)
            reading = EXPECTED if alike else self.reading
            self._kept[key] = read_row(behind.models, behind.truth, reading), behind.selection
        return self._kept[key]


def compared(
    first: Row, second: Row, readers: tuple[RowReader, RowReader], protocol: str, figures: Sequence[str]
) -> dict[str, Comparison]:
    """The first row against the second: `ca`, natural shift, attack or `worst` -> the difference of both.

    Raises:
        MissingLabels: labels are missing.
        LeaderboardError: labels were given to other images.
        TooFewDraws: a row has too few draws for the reading.
    """
    comparisons = {}
    for figure in figures:
        (reading, images), (other, other_images) = (
            reader.read(row, protocol, figure) for reader, row in zip(readers, (first, second), strict=True)
        )
        if images != other_images:
            raise LeaderboardError(
                f"{first.label} and {second.label} were judged on other images, {images} and {other_images}: they cannot"
                " be compared"
            )
        comparisons[figure] = decisions.difference(reading, other, same_models=shares_models(first, second))
    return comparisons


def decided(comparisons: Sequence[tuple[str, Comparison]]) -> list[Difference]:
    """Comparisons with the names of their figures, as differences that were asked together (Holm)."""
    corrected = holm([comparison.p for _, comparison in comparisons])
    return [
        Difference(
            figure=name,
            first=percent(sum(comparison.seeds[0]) / len(comparison.seeds[0])),
            second=percent(sum(comparison.seeds[1]) / len(comparison.seeds[1])),
            value=percent(comparison.estimate.value),
            low=percent(comparison.low),
            high=percent(comparison.high),
            p=p,
            verdict=comparison.verdict(p),
            scope=comparison.scope,
            first_seeds=tuple(map(percent, comparison.seeds[0])),
            second_seeds=tuple(map(percent, comparison.seeds[1])),
        )
        for (name, comparison), p in zip(comparisons, corrected, strict=True)
    ]


def from_intervals(name: str, first: Figure, second: Figure) -> Difference:
    """A difference of two printed figures, without labels: an interval and no verdict."""
    value, low, high = decisions.from_intervals(
        (first.value, first.low, first.high), (second.value, second.low, second.high)
    )
    return Difference(
        name,
        first.value,
        second.value,
        value,
        low,
        high,
        None,
        "no verdict",
        "intervals alone",
        _seeds(first),
        _seeds(second),
    )


def refuse_other_questions(first: Row, second: Row) -> None:
    """Refuse rows of other images or of another threat model.

    Raises:
        LeaderboardError: with what differs.
    """
    both = f"{first.label} and {second.label} cannot be compared"
    for key in IMAGES:
        own, other = _without_paths(getattr(first, key)), _without_paths(getattr(second, key))
        if own != other:
            raise LeaderboardError(
                f"{both}: they were judged on other images, {key} is {own!r} in the one and {other!r} in the other"
            )
    own, other = (threat_text(row.threat.norm, row.threat.eps) for row in (first, second))
    if first.threat.resolved() != second.threat.resolved():
        raise LeaderboardError(f"{both}: the threat model is {own} in the one and {other} in the other")


def _without_paths(value: Any) -> Any:
    """Options without the places of files: what lies there is in the name of the images (`compared`)."""
    if not isinstance(value, Mapping):
        return value
    return {
        key: option for key, option in value.items() if not (isinstance(option, str) and Path(option).is_absolute())
    }


def chosen_protocol(first: Row, second: Row, protocol: str | None) -> str:
    """The protocol that was asked for, or the headline's of both rows.

    Raises:
        LeaderboardError: a row was not scored by it, or the two headlines are of other protocols.
    """
    common = [name for name in first.scores if name in second.scores]
    if protocol is None and first.protocol != second.protocol:
        raise LeaderboardError(
            f"{first.label} is scored by {first.protocol!r} and {second.label} by {second.protocol!r}; choose a protocol of"
            f" both, {did_you_mean('', common)}"
        )
    protocol = protocol or first.protocol
    if protocol not in common:
        raise LeaderboardError(f"no protocol {protocol!r} of both rows: {did_you_mean(protocol, common)}")
    return protocol


def common_figures(first: Row, second: Row, protocol: str, attack: str | None = None) -> list[str]:
    """`ca`, the natural shifts and the attacks of both rows, and `worst` if both have the same attacks; or the one attack
    that was asked for. If there is but one attack, `worst` is that attack: it is one question.

    Raises:
        LeaderboardError: a row has no such attack.
    """
    own, other = first.scores[protocol].single_attacks, second.scores[protocol].single_attacks
    figures = [label for label in own if label in other]
    alike = set(own) == set(other)
    if attack is None:
        shifts = [
            label for label in first.shift if label in second.shift and protocol == first.protocol == second.protocol
        ]
        return [CLEAN, *shifts, *(figures if len(figures) > 1 or not alike else []), *([WORST] if alike else [])]
    figures += [WORST] if alike else []
    if attack not in figures:
        raise LeaderboardError(f"no attack {attack!r} of both rows: {did_you_mean(attack, figures)}")
    return [attack]


def _seeds(figure: Figure) -> tuple[float, ...]:
    """The figure of each training seed, the mean over its attack seeds."""
    by_seed: dict[str, list[float]] = {}
    for seeds, value in (figure.seeds or {"0/0": figure.value}).items():
        by_seed.setdefault(seeds.partition("/")[0], []).append(value)
    return tuple(sum(values) / len(values) for values in by_seed.values())
