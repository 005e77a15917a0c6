"""How the figures of a row were obtained: components, recipe, seeds, effort, software, hardware and jobs."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from robuststack.leaderboard.record import Count, Percent, Record, SparseRecord, Values
from robuststack.suite.recipe import Recipe


class ComponentRecord(Record):
    """A component as jobs write it down."""

    name: str
    plugin: str
    revision: int
    options: Values
    places: Values | None = None
    """Where its files are, if it has any. They enter no job id."""
    fingerprint: str | None = None
    """What lies at its places."""


class ResolvedRecipe(Recipe):
    """How a model was trained, with the training attack as it was resolved."""

    attack: ComponentRecord  # type: ignore[assignment]


class UserModelRecord(Record):
    """A model that the user brought: a file of weights, or what a Python function returned."""

    fingerprint: str
    python: str | None = None
    """`module:function`."""
    key: str | None = None
    """Which of several state dicts in the file."""
    stochastic: bool = False
    """Whether the user says that two forward passes differ."""
    places: Values | None = None
    """Where the file lies."""


class RowSeeds(Record):
    """The seeds that a row's figures are the mean over."""

    train: tuple[int, ...]
    attack: tuple[int, ...]


class Effort(Record):
    """What was really done."""

    epochs: tuple[Count, ...]
    """Of each training seed."""
    steps: tuple[Count, ...]
    """Optimiser steps of each training seed."""
    calls: dict[str, Count]
    """Attack -> how often it called the model, over all seeds."""
    table_draws: Count
    """Noise draws of training and attacks from the table of 65,536 normal quantiles, over all seeds. Large draws on a
    processor come from it; judging draws from torch."""
    retries: Count = 0
    """How often a job of the row was tried again in a cluster, because its worker or its node had died."""


class Checks(Record):
    """The worst of what the host saw in the row's attacks."""

    clipped: float
    """By how much an image lay outside of the ball or of [0, 1]."""
    not_finite: float
    """Pixels that were not finite."""
    state_kept: bool
    """Whether every attack left the model's mode and buffers as they were."""
    gradients_zero: Percent
    gradients_not_finite: Percent
    attacked_again: Count = 0
    """Blocks that were attacked a second time, on the plain network: some image took a way through the network that folded
    batch norms cannot follow. The figures are those of the plain network."""


class Versions(Record):
    """The software that a row was computed with."""

    robuststack: str
    python: str
    torch: str
    numpy: str


class Machine(Record):
    """The hardware that a row was computed with."""

    device: str
    """The processor or card; if several kinds were used, each of them, joined by "and"."""
    threads: str
    """Threads of a job."""
    workers: str
    """How many jobs ran at a time."""


class RowJobs(SparseRecord):
    """The ids of the jobs behind a row."""

    left_out: ClassVar[frozenset[str]] = frozenset({"shift", "labels"})
    train: dict[int, str]
    """Training seed -> job; empty for a model that was not trained here."""
    measure: str
    attacks: dict[str, str]
    """Job that judged adversarial images -> the attack job that made them."""
    scores: dict[str, dict[str, dict[str, str]]]
    """Protocol -> `ca` or the attack's label -> "training seed/attack seed", with "/bake" behind it if a frozen draw stands
    for the model (its number) -> job."""
    shift: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Label of a natural shift -> run -> job, by the headline's protocol. A file leaves the key out if there is none."""
    labels: str = ""
    """A hash of what the judge jobs predicted that an audit is of: the same jobs come to other labels with other code."""

    def scored(self) -> list[str]:
        """The jobs that figures come from, clean accuracy included, each once."""
        figures = [figure for protocol in self.scores.values() for figure in protocol.values()]
        return list(dict.fromkeys(job for figure in [*figures, *self.shift.values()] for job in figure.values()))
