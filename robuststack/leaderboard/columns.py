"""The columns of a leaderboard's table: what they print of a row, and which row is best in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from robuststack.did_you_mean import did_you_mean
from robuststack.errors import LeaderboardError
from robuststack.leaderboard.audit import RowAudit
from robuststack.leaderboard.row import CLEAN, WORST, ExtraValue, Latency, ReadFigure, Row, Scores
from robuststack.leaderboard.text_table import text_table
from robuststack.wording import options_text

Audits = Mapping[str, RowAudit]
"""Row label -> its audit."""
NO_AUDITS: Audits = {}
BOLD = {"github": ("**", "**"), "latex_booktabs": ("\x01", "\x02")}
"""tabulate's format -> what stands around bold text in a cell."""
LATEX_BOLD = (("\x01", r"\textbf{"), ("\x02", "}"))
"""What becomes of it: tabulate would write a brace as text."""


@dataclass(frozen=True)
class Column:
    """A column: its name, and what stands there for a row."""

    name: str
    text: Callable[[Row], str]
    value: Callable[[Row], float | None] | None = None
    """What rows are ranked by; None if none is better than another."""
    ascending: bool = False
    """Whether less is better."""

    @property
    def short(self) -> str:
        """The name as a user may write it: `ca`, `ra worst`."""
        return bare(self.name)

    def best(self, rows: Sequence[Row]) -> set[int]:
        """The positions of the best rows: those that print the number that the best one prints. Of a single row, none."""
        if self.value is None or len(rows) < 2:
            return set()
        values = {place: value for place, row in enumerate(rows) if (value := self.value(row)) is not None}
        if not values:
            return set()
        first = (min if self.ascending else max)(values, key=lambda place: values[place])
        printed = {place: self.text(rows[place]).partition(" ")[0] for place in values}
        return {place for place, text in printed.items() if text == printed[first]}


@dataclass(frozen=True)
class Shown:
    """What of a table is printed, and whether the best of each column is in bold."""

    names: tuple[str, ...] = ()
    """The columns behind the defense and its point; all if there are none."""
    bold: bool = False

    def table(self, there: Sequence[Column], rows: Sequence[Row], style: str) -> str:
        """Rows as a table in one of tabulate's formats, one of `BOLD` if the best is in bold.

        Raises:
            LeaderboardError: no column has such a name.
        """
        chosen = [*there[:2], *(_find(there[2:], name) for name in self.names)] if self.names else there
        best = [column.best(rows) if self.bold else set() for column in chosen]
        body = [
            [_bold(column.text(row), style) if place in of_column else column.text(row)
             for column, of_column in zip(chosen, best, strict=True)]
            for place, row in enumerate(rows)
        ]  # fmt: skip
        aligned = ["left", "left", *["right"] * (len(chosen) - 2)]
        header = [column.name for column in chosen]
        text = text_table(body, header, style, colalign=aligned)
        for mark, command in LATEX_BOLD:
            text = text.replace(mark, command)
        return text


EVERYTHING = Shown()


def column_names(text: str) -> tuple[str, ...]:
    """The names of columns that a user writes with commas between; `ms, batch 8` is one name."""
    return tuple(name.strip() for name in re.split(r",(?! batch \d)", text) if name.strip())


def bare(name: str) -> str:
    """The name of a column in lower case, without its `%`."""
    return name.removesuffix("%").strip().lower()


def columns(rows: Sequence[Row], attacks: Sequence[str], audits: Audits) -> list[Column]:
    """The columns of a table of rows: what is measured of any of them."""
    batches = list(dict.fromkeys(batch for row in rows for batch in row.latency_ms))
    extra = list(dict.fromkeys(name for row in rows for name in row.extra))
    protocols = list(dict.fromkeys(name for row in rows for name in row.protocols))
    measured = [*named(), *accuracies(attacks), *audited(audits)]
    measured += [column for name in protocols for column in _by_protocol(name)]
    measured += shifts(rows)
    measured.append(Column("parameters", lambda row: _count(row.parameters), lambda row: row.parameters or None, True))
    if any(row.nonzero_parameters != row.parameters for row in rows):
        measured.append(
            Column("non-zero", lambda row: f"{row.nonzero_parameters:,}", lambda row: row.nonzero_parameters, True)
        )
    measured.append(macs())
    measured += [_latency(batch) for batch in batches]
    measured.append(
        Column(
            "train s/epoch",
            lambda row: "-" if row.train_seconds_per_epoch is None else f"{row.train_seconds_per_epoch:.2f}",
            lambda row: row.train_seconds_per_epoch,
            True,
        )
    )
    return [*measured, *(Column(name, partial(_extra, name=name)) for name in extra)]


def named() -> list[Column]:
    """What a row is."""
    return [Column("defense", lambda row: row.title), Column("point", lambda row: options_text(row.point) or "-")]


def accuracies(attacks: Sequence[str]) -> Iterator[Column]:
    """Clean accuracy, and robust accuracy under each attack and all of them."""
    for figure in (CLEAN, *attacks, WORST):
        name = "CA %" if figure == CLEAN else f"RA {figure} %"
        yield Column(name, partial(_text, figure=figure), partial(_value, figure=figure))


def audited(audits: Audits) -> list[Column]:
    """What an audit found, and robust accuracy with the stronger attacks that it counts; nothing without audits."""
    if not audits:
        return []
    return [
        Column("audit", lambda row: audits[row.label].badge if row.label in audits else "-"),
        Column("RA worst % audited", lambda row: _audited(audits.get(row.label))),
    ]


def shifts(rows: Sequence[Row]) -> list[Column]:
    """Accuracy under each natural shift."""
    return [_shifted(name) for name in dict.fromkeys(name for row in rows for name in row.shift)]


def macs() -> Column:
    return Column("MACs", lambda row: _count(row.macs), lambda row: row.macs or None, True)


def _count(count: int) -> str:
    """0 says that nothing was seen, not that there is nothing."""
    return f"{count:,}" if count else "-"


def _by_protocol(name: str) -> Iterator[Column]:
    """CA and RA by another protocol than the headline's."""
    for figure, title in ((CLEAN, "CA"), (WORST, "RA worst")):
        yield Column(
            f"{title} {name} %",
            partial(_text, figure=figure, protocol=name),
            partial(_value, figure=figure, protocol=name),
        )


def _shifted(name: str) -> Column:
    """Accuracy under a natural shift."""

    def value(row: Row) -> float | None:
        return row.shift[name].value if name in row.shift else None

    return Column(f"CA {name} %", lambda row: row.shift[name].text if name in row.shift else "-", value)


def _latency(batch: int) -> Column:
    def value(row: Row) -> float | None:
        latency = row.latency_ms.get(batch)
        return None if latency is None else latency.median

    return Column(f"ms, batch {batch}", lambda row: _milliseconds(row.latency_ms.get(batch)), value, True)


def _figure(row: Row, figure: str, protocol: str | None) -> ReadFigure | None:
    scores: Scores | None = row if protocol is None else row.protocols.get(protocol)
    if scores is None:
        return None
    return scores.ca if figure == CLEAN else scores.ra.get(figure)


def _text(row: Row, figure: str, protocol: str | None = None) -> str:
    scored = _figure(row, figure, protocol)
    return scored.text if scored else "-"


def _value(row: Row, figure: str, protocol: str | None = None) -> float | None:
    scored = _figure(row, figure, protocol)
    return scored.value if scored else None


def _audited(audit: RowAudit | None) -> str:
    """RA worst with the stronger attacks that an audit found."""
    return audit.ra_worst.text if audit and audit.ra_worst else "-"


def _milliseconds(latency: Latency | None) -> str:
    if latency is None:
        return "-"
    ratio = "" if latency.relative is None else f" {latency.relative:.2f}x"
    return f"{latency.median:.2f} ({latency.low:.2f}-{latency.high:.2f}){ratio}"


def _extra(row: Row, name: str) -> str:
    """What a plugin added to a row."""
    value: ExtraValue = row.extra.get(name)
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


def _bold(text: str, style: str) -> str:
    before, after = BOLD[style]
    return f"{before}{text}{after}"


def _find(there: Sequence[Column], name: str) -> Column:
    """The column of a name, with or without its case, `RA` and `%`."""
    for column in there:
        if column.short in (bare(name), f"ra {bare(name)}"):
            return column
    names = [column.name.removesuffix(" %") for column in there]
    raise LeaderboardError(f"--columns {name}: no such column: {did_you_mean(name, names)}")
