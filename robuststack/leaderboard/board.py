"""A leaderboard: its rows, and what else stands in its file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, model_validator

from robuststack.leaderboard.game import Game
from robuststack.leaderboard.record import Percent, Record, SparseRecord, Values, file_json, file_schema
from robuststack.leaderboard.row import Row
from robuststack.plugin.threat import Threat
from robuststack.suite.report import Claim, Reference

BOARD_SCHEMA = 2
"""The layout of leaderboard files that this version writes and reads."""


class BoardAttack(Record):
    """An attack, or a natural shift, as the suite asks for it."""

    label: str
    name: str
    options: Values


Share = Annotated[float, Field(ge=0, le=1)]


class EntryCertainty(Record):
    """How sure the figures of an entry are, from fronts that are drawn again with the variance of images, training seeds
    and judging draws."""

    low: Percent
    high: Percent
    """The 95 % interval of the hypervolume."""
    knee: Share
    """The share of the fronts with the same knee; with none, if the entry has none."""
    dominated: dict[str, Share]
    """Setting -> the share of the fronts in which another setting dominates it."""


class Entry(Record):
    """A defense as one entry: its settings in the plane of clean and robust accuracy, and their worth together."""

    variant: tuple[str, ...]
    threat: Threat
    defense: str
    shown: Values
    """The options that tell this entry from others of its defense."""
    models: int
    """How many models its settings take."""
    settings: int
    hypervolume: Percent
    knee: str | None
    """The setting farthest beyond the line between the ends of the front; None if there is none."""
    dominated: tuple[str, ...]
    """The settings that another one beats in one accuracy and equals or beats in the other."""
    certainty: EntryCertainty | None = None
    """None if the labels behind the entry's rows were not there."""


class OurNumber(SparseRecord):
    """The number of a published comparison, computed from our rows."""

    left_out: ClassVar[frozenset[str]] = frozenset({"ahead"})
    value: float
    pairs: int
    """How many pairs of rows it is taken from."""
    of: str | None = None
    """The label of the one row; None for the mean of the pairs."""
    against: str | None = None
    low: float | None = None
    high: float | None = None
    """The 95 % interval of the difference of both rows alone, in points; None for a ratio, a mean, or without labels."""
    ahead: tuple[str, ...] = ()
    """The labels of the rows that are ahead in the pairs that the verdict rests on. A file leaves the key out if there are
    none."""


ClaimVerdict = Literal["confirmed", "refuted", "undecided", "not comparable"]


class ComparedClaim(Claim):
    """A published comparison and the same number from our rows."""

    ours: OurNumber | None
    """None if no pair of rows fits."""
    verdict: ClaimVerdict = "not comparable"
    """Whether our rows have the side ahead that the publication has. By how much is not judged: it depends on the data and
    the network."""
    why: str = ""
    """What the verdict comes from."""


class TrainingCurve(SparseRecord):
    """What a train job reported, epoch by epoch."""

    left_out: ClassVar[frozenset[str]] = frozenset({"kept_of_phases"})
    kept_epoch: int
    """The epoch whose weights were kept, from 1; in a training of several phases that of the last, counted over all."""
    kept_of_phases: dict[str, int] = Field(default_factory=dict)
    """Phase -> the epoch whose weights were kept in it, from 1; empty for a training in one phase."""
    metrics: dict[str, tuple[float, ...]]
    """Name -> its value after each epoch; in several phases `PHASE: NAME` -> after each epoch of the phase."""


class Board(SparseRecord):
    """A leaderboard. Rows and attacks are in the suite's order; only timings change from run to run."""

    left_out: ClassVar[frozenset[str]] = frozenset({"games", "shifts", "title", "unranked"})
    schema_: int = Field(alias="schema", description="The layout of this file.")
    suite: str
    title: str = ""
    """The suite in a few words; empty if its file has none, and then the leaderboard's file leaves the key out."""
    unranked: bool = False
    """Whether its defenses have no place beside those of other suites (`ranked: false`); a file leaves the key out if they
    have one."""
    suite_file: str | None
    """Where the suite's file lies, from the leaderboard's folder; None for a leaderboard that is printed only."""
    description: str
    overrides: tuple[str, ...]
    complete: bool
    """Whether every row of the suite is there."""
    device: str
    precision: str
    attacks: tuple[BoardAttack, ...]
    shifts: tuple[BoardAttack, ...] = ()
    """The natural shifts; a file leaves the key out if there are none."""
    rows: tuple[Row, ...]
    entries: tuple[Entry, ...]
    reference: tuple[Reference, ...]
    claims: tuple[ComparedClaim, ...]
    training: dict[str, TrainingCurve]
    """Train job -> its curve. The settings of a tunable defense share one model."""
    games: tuple[Game, ...] = ()
    """The knobs of tunable defenses as games, if the suite asks for them; a file leaves the key out if there are none."""
    _file: Path | None = PrivateAttr(None)

    @property
    def file(self) -> Path | None:
        """The file that `load_board` read it from; None for a board that was made otherwise."""
        return self._file

    def __repr__(self) -> str:
        return f"Board({self.suite!r}, {len(self.rows)} rows)"

    @property
    def by_label(self) -> dict[str, Row]:
        return {row.label: row for row in self.rows}

    @model_validator(mode="after")
    def _labels_are_unique(self) -> Board:
        labels = [row.label for row in self.rows]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"{labels.count(label)} rows are named {label!r}")
        return self


def board_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of leaderboard files."""
    return file_schema(Board, "RobustStack leaderboard")


def board_json(board: Board) -> str:
    """The content of a leaderboard file."""
    return file_json(board)
