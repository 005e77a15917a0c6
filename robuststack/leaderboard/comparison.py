"""Any two rows against each other: verdicts, and their defenses' whole curves beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from robuststack.errors import LeaderboardError
from robuststack.evidence.readings import EXPECTED, Reading
from robuststack.evidence.redrawn_front import FrontPair, SettingReading, compare_fronts
from robuststack.leaderboard.audit import RowAudit
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.difference import (
    Difference,
    RowReader,
    chosen_protocol,
    common_figures,
    compared,
    decided,
    refuse_other_questions,
)
from robuststack.leaderboard.entries import grouped
from robuststack.leaderboard.row import CLEAN, WORST, Row
from robuststack.leaderboard.row_labels import MissingLabels
from robuststack.leaderboard.row_lookup import find_row
from robuststack.wording import options_text


@dataclass(frozen=True)
class LabelledRows:
    """The rows of a leaderboard, the labels behind them, and what an audit says of them, by label of the row."""

    rows: Sequence[Row]
    labels: Mapping[str, Labels]
    audits: Mapping[str, RowAudit] = field(default_factory=dict)


@dataclass(frozen=True)
class RowSource:
    """A row, the rows of its leaderboard, their readings, and the row's audit if it has one."""

    row: Row
    rows: Sequence[Row]
    reader: RowReader
    audit: RowAudit | None = None


@dataclass(frozen=True, repr=False)
class RowComparison:
    """What the first of two rows is, compared with the second."""

    first: str
    second: str
    """The labels of the rows."""
    protocol: str
    reading: str
    figures: tuple[Difference, ...]
    """The figures that were asked together, robust accuracy last."""
    fronts: FrontPair | None
    """The curves of both defenses: robust accuracy at equal clean accuracy, and the difference of hypervolumes, in points;
    None if both rows are of one defense, or if neither defense has another setting."""
    notes: tuple[str, ...]
    """What else sets the two apart."""
    doubts: tuple[str, ...] = ()
    """What the audits say against robust accuracy of either row."""
    comparable: bool = True
    """False: the rows were attacked in different ways and no attack was asked for, so that no figure decides."""

    @property
    def decisive(self) -> Difference:
        """The figure that the comparison is about: robust accuracy, the worst of all attacks unless one was asked for."""
        return self.figures[-1]

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `undecided`, of the decisive figure; `undecided` between rows that were attacked in
        different ways."""
        return self.decisive.verdict if self.comparable else "undecided"

    def __repr__(self) -> str:
        figure = self.decisive
        p = "" if figure.p is None else f", p {figure.p:.2g}"
        said = f"{figure.figure} {figure.text} points{p}, {self.verdict} ({figure.scope})"
        return "\n  ".join([f"<{self.first} against {self.second}: {said}", *self.doubts]) + ">"


def sources(
    first: LabelledRows, second: LabelledRows, names: tuple[str, str], reading: Reading = EXPECTED
) -> tuple[RowSource, RowSource]:
    """Two rows by their labels or words of them, the first of the first leaderboard, the second of the second.

    Raises:
        LeaderboardError: no row is named so, or several are.
    """
    reader = RowReader(first.labels, reading)
    other = reader if first is second else RowReader(second.labels, reading)
    return _source(first, names[0], reader), _source(second, names[1], other)


def _source(labelled: LabelledRows, name: str, reader: RowReader) -> RowSource:
    row = find_row(labelled.rows, name)
    return RowSource(row, labelled.rows, reader, labelled.audits.get(row.label))


def compare_rows(
    first: RowSource, second: RowSource, *, protocol: str | None = None, attack: str | None = None
) -> RowComparison:
    """The first row against the second, by the readings of their readers.

    Raises:
        LeaderboardError: it is one row, or the rows are of other images, threat models, protocols or attacks, or labels are
            missing.
        TooFewDraws: a row has too few draws for the reading.
    """
    own, other = first.row, second.row
    if own == other and first.reader is second.reader:
        raise LeaderboardError(f"{own.label} is compared with itself: name two rows")
    refuse_other_questions(own, other)
    protocol = chosen_protocol(own, other, protocol)
    figures = common_figures(own, other, protocol, attack)
    comparisons = compared(own, other, (first.reader, second.reader), protocol, figures)
    robust = attack or (WORST if WORST in figures else None)
    return RowComparison(
        first=own.label,
        second=other.label,
        protocol=protocol,
        reading=str(first.reader.reading),
        figures=tuple(decided([(own.figure_name(figure), comparison) for figure, comparison in comparisons.items()])),
        fronts=_fronts(first, second, protocol, robust) if robust else None,
        notes=tuple(_notes(own, other, protocol, figures)),
        doubts=tuple(_doubts(first, second)) if {*figures} & {*own.scores[protocol].ra} else (),
        comparable=robust is not None,
    )


def _fronts(first: RowSource, second: RowSource, protocol: str, robust: str) -> FrontPair | None:
    """Both defenses by all of their settings; a setting without labels, or not scored so, does not count."""
    settings = [_settings(source, protocol, robust) for source in (first, second)]
    if first.row.label in settings[1] or max(map(len, settings)) < 2:
        return None
    places = [
        list(of_defense).index(source.row.label) for of_defense, source in zip(settings, (first, second), strict=True)
    ]
    return compare_fronts(list(settings[0].values()), list(settings[1].values()), (places[0], places[1]))


def _settings(source: RowSource, protocol: str, robust: str) -> dict[str, SettingReading]:
    """Label of each setting of the row's defense -> its readings."""
    entry = next((group for group in grouped(source.rows) if source.row in group), [source.row])
    settings = {}
    for row in entry:
        if protocol in row.scores and (robust == WORST or robust in row.scores[protocol].ra):
            try:
                readings = [source.reader.read(row, protocol, figure)[0] for figure in (CLEAN, robust)]
            except MissingLabels:
                continue
            settings[row.label] = SettingReading(*readings)
    return settings


def _doubts(*sources: RowSource) -> Iterator[str]:
    for source in sources:
        audit = source.audit
        if audit and (audit.broken or audit.weak):
            label = f"audit: {source.row.label} is {audit.badge}"
            if audit.ra and audit.ra_worst:
                label += f"; RA worst on its images is {audit.ra.text}, and with stronger attacks {audit.ra_worst.text}"
            yield label
    unaudited = [source.row.label for source in sources if source.audit is None]
    if unaudited:
        yield f"no audit at hand, so that stronger attacks may find more: {'; '.join(unaudited)}"


def _notes(first: Row, second: Row, protocol: str, figures: Sequence[str]) -> list[str]:
    notes = []
    own, other = first.scores[protocol], second.scores[protocol]
    if WORST not in figures and figures[0] == CLEAN:
        alone = sorted(set(own.single_attacks) ^ set(other.single_attacks))
        notes.append(f"RA worst is not compared: only one of the rows was attacked by {', '.join(alone)}")
    for attack in figures:
        options, others = own.attacks.get(attack), other.attacks.get(attack)
        # At a randomised point an attack averages over draws: these options differ from a deterministic point's by design.
        if options != others and options and others and first.stochastic == second.stochastic:
            notes.append(f"{attack} is {options_text(options)} in the one and {options_text(others)} in the other")
    return notes
