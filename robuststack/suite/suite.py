"""Suite files: what to train, attack and measure, declared in YAML and checked strictly."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, field_validator

from robuststack.errors import SuiteError
from robuststack.evidence.readings import EXPECTED, Reading, TooFewDraws, default_draws
from robuststack.hardware import Hardware, named_device, resolve
from robuststack.image_selection import LimitRule
from robuststack.plugin.options import option
from robuststack.processor import cpu_threads, quota_threads
from robuststack.suite.ladder import ADAPTIVE, RUNGS
from robuststack.suite.part import Part, many
from robuststack.suite.parts import AttackPart, DatasetPart, DefensePart, ThreatSpec
from robuststack.suite.recipe import Recipe
from robuststack.suite.report import Claim, Drawing, Reference, listed
from robuststack.suite.section import Section
from robuststack.suite.yaml_source import YamlSource

T = TypeVar("T")
BOARD_NAME = r"[^\W_][\w.-]*"
"""What a leaderboard may be named: it names files."""
LONGEST_NAME = 180
"""In bytes: file systems take 255, and the names of pictures are longer."""
MOST_WORKERS = 8
"""Processes that a run starts unasked: each takes up to a gigabyte before it has done anything."""


class Seeds(Section):
    """Training and attack seeds, kept apart."""

    train: Annotated[list[int], BeforeValidator(listed, json_schema_input_type=int | list[int])] = option(
        [0], "One model is trained for each.", min_length=1
    )
    attack: Annotated[list[int], BeforeValidator(listed, json_schema_input_type=int | list[int])] = option(
        [0], "Each model is attacked and judged once for each.", min_length=1
    )

    @field_validator("train", "attack")
    @classmethod
    def _all_different(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"{seeds} names a seed twice, which says nothing new")
        return seeds


class GameOptions(Section):
    """How the knob of a tunable defense is played as a game."""

    ca: float | None = option(
        None, "The clean accuracy, in percent, that the mixture of settings must have at least.", ge=0, le=100
    )


def _game(value: object) -> object:
    return GameOptions() if value is True else None if value is False else value


class Evaluate(Section):
    """How models are scored."""

    split: Literal["test", "validation"] = option("test", "The images to score on.")
    limit: int | None = option(None, "How many images to score; default: all.", ge=1)
    limit_rule: LimitRule = option(
        "stratified",
        "Which images `limit` takes: each class in proportion, drawn with a fixed seed; or the first ones.",
    )
    block: int = option(
        100,
        "Images a block: what is attacked, judged and stored at a time. One noise draw serves a whole block, and a run that"
        " is killed goes on at the next one.",
        ge=1,
    )
    draws: int | None = option(
        None,
        "Fresh noise draws that judge a randomised point; deterministic points use one. Default: 20, or 4 times the largest"
        " of `readings`.",
        ge=2,
    )
    readings: Annotated[list[str], BeforeValidator(listed, json_schema_input_type=str | list[str])] = option(
        [str(EXPECTED)],
        "How the draws are read: `expected` (one query; always there), `majority R` (a vote of R draws) and `any N` (robust"
        " only if all of N tries are right). Readings of more than half of the draws have no interval.",
    )
    protocols: Annotated[list[str], BeforeValidator(listed, json_schema_input_type=str | list[str])] = option(
        ["adaptive"],
        "Scoring protocols; a defense without one of them is scored by `adaptive` alone. Randomised points also have the"
        " rungs of the ladder: `off`, `surrogate` and `frozen_known`.",
        min_length=1,
    )
    ladder: bool = option(
        False,
        "Score each randomised point by every rung of the ladder too: attackers that know it with its noise off (`off`), by"
        " frozen draws of their own (`surrogate`), by its distribution (`adaptive`), or by the very frozen draw that is"
        " deployed (`frozen_known`).",
    )
    bakes: int = option(
        5, "Frozen draws that stand for the model in turn, at the rungs `surrogate` and `frozen_known`.", ge=5
    )
    points: Literal["all", "ends"] = option("all", "Score every operating point, or each defense's first and last.")
    game: Annotated[GameOptions | None, BeforeValidator(_game, json_schema_input_type=bool | GameOptions | None)] = (
        option(
            None,
            "Play the knob of each tunable defense as a game: what it is worth to hide which setting runs. Every attack"
            " runs at every setting and is judged at every setting. `true`, or a mapping.",
        )
    )
    keep_images: bool = option(
        True, "Keep the adversarial images in the store, as float32: 8 bits would change verdicts."
    )

    @property
    def scored_by(self) -> list[str]:
        """The protocols that are asked for, those of the ladder included, in the order of the table's columns."""
        rungs = [ADAPTIVE, *RUNGS] if self.ladder else []
        return list(dict.fromkeys([*self.protocols, *rungs]))

    @property
    def parsed_readings(self) -> list[Reading]:
        """The expected reading, and the others that are asked for."""
        return list(dict.fromkeys([EXPECTED, *map(Reading.parse, self.readings)]))

    @property
    def judging_draws(self) -> int:
        """How many draws judge a randomised point."""
        return default_draws(self.parsed_readings) if self.draws is None else self.draws

    @field_validator("readings")
    @classmethod
    def _have_draws(cls, readings: list[str], info: ValidationInfo) -> list[str]:
        draws = info.data.get("draws")
        for reading in map(Reading.parse, readings):
            if draws is not None:
                try:
                    reading.check(draws)
                except TooFewDraws as error:
                    raise ValueError(f"{error} or leave it out") from None
        return readings


class Measure(Section):
    """What is measured beside accuracy."""

    latency: bool = option(True, "Time forward passes at batch 1 and at `batch_size`.")
    batch_size: int = option(128, "The larger of the two batches.", ge=1)
    repeats: int = option(30, "Timed forward passes; median and quartiles are reported.", ge=3)
    warmup: int = option(5, "Forward passes before them.", ge=0)


def _seeds(value: object) -> object:
    return {"train": value} if isinstance(value, (int, list)) and not isinstance(value, bool) else value


def _of(model: type[Section]) -> Any:
    return BeforeValidator(listed, json_schema_input_type=model | list[model])  # type: ignore[valid-type]


class Suite(Section):
    """A suite. Any part may be a list; the product of all lists is the plan."""

    name: str = option("", "Names the leaderboard; default: the file's name.")
    title: str = option(
        "", "The suite in a few words, for readers; default: its name. A suite inherits no title.", max_length=80
    )
    description: str = option("", "What the suite shows; printed above the table.")
    ranked: bool = option(True, "Whether the page of leaderboards ranks its defenses beside those of other suites.")
    extends: str | None = option(None, "A suite file, relative to this one, whose keys this one replaces.")
    datasets: Annotated[list[DatasetPart], many(DatasetPart)] = Field(description="Data.", min_length=1)
    architectures: Annotated[list[Part], many(Part)] = option(
        [], "Networks; may be left out if every defense brings its own."
    )
    threat: Annotated[list[ThreatSpec], _of(ThreatSpec)] = option([ThreatSpec()], "Threat models.", min_length=1)
    train: Annotated[list[Recipe], _of(Recipe)] = option([Recipe()], "Training recipes.", min_length=1)
    defenses: Annotated[list[DefensePart], many(DefensePart)] = Field(description="Defenses.", min_length=1)
    attacks: Annotated[list[AttackPart], many(AttackPart)] = Field(description="Attacks.", min_length=1)
    seeds: Annotated[Seeds, BeforeValidator(_seeds, json_schema_input_type=int | list[int] | Seeds)] = option(
        Seeds(), "Seeds of training and attack; a bare number or list names training seeds."
    )
    evaluate: Evaluate = option(Evaluate(), "How models are scored.")
    measure: Measure = option(Measure(), "What is measured beside accuracy.")
    figures: list[Drawing] = option([], "Figures drawn beside the table, as SVG.")
    reference: list[Reference] = option([], "Published rows to show beside ours.")
    claims: list[Claim] = option([], "Published comparisons to show beside ours.")
    precision: Literal["auto", "float32", "bf16"] = option(
        "auto",
        "Arithmetic of training and attacks: `auto` is bf16 if the hardware is faster in it than in float32. Judging is"
        " always float32.",
    )
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", "Where all of it is computed; a suite that says cpu or cuda refuses a `--device` that says otherwise."
    )
    threads: int | None = option(
        None,
        "CPU threads of a job; as many jobs run at a time as the processors then allow, at most 8 unless `--workers` says"
        " so. Default: one job with all of them. Figures on a CPU can depend on it in their last digits.",
        ge=1,
    )

    resources: dict[str, Annotated[float, Field(gt=0)]] = option(
        {}, "Custom resources of a Ray cluster that a job needs beside its threads and card, such as {a100: 1}."
    )

    _source: YamlSource = PrivateAttr(default_factory=lambda: YamlSource({}))
    _file: Path = PrivateAttr(default=Path("suite.yaml"))
    _overrides: tuple[str, ...] = PrivateAttr(default=())

    @field_validator("name")
    @classmethod
    def _file_name(cls, name: str) -> str:
        if name and not re.fullmatch(BOARD_NAME, name):
            raise ValueError(f"{name!r} cannot name a file; use letters, digits, '.', '_' and '-'")
        if name.endswith(".partial"):
            raise ValueError(f"{name!r}: a leaderboard's file that ends in .partial is one that lacks rows")
        if len(name.encode()) > LONGEST_NAME:
            raise ValueError(f"{name[:20]!r}... has {len(name.encode())} bytes; valid: at most {LONGEST_NAME}")
        return name

    @property
    def file(self) -> Path:
        return self._file

    @property
    def overrides(self) -> tuple[str, ...]:
        """The `--set` assignments, as given."""
        return self._overrides

    def hardware(
        self,
        device: str = "auto",
        workers: int | None = None,
        resolver: Callable[[str, str], Hardware] | None = None,
    ) -> Hardware:
        """What a run of it on `device` gets, with `workers` jobs at a time (None: what `threads` leaves room for).
        `resolver` says what device and precision `auto` stand for elsewhere than on this machine.

        Raises:
            SuiteError: a device other than the one that the suite is for.
            RobustStackError: a device that this machine does not have.
        """
        device = named_device(device)
        if device == "auto":
            device = self.device
        elif self.device not in ("auto", device.partition(":")[0]):
            raise self.error(
                f"the suite is for device {self.device}, not {device}; leave --device out, or add --set device=auto",
                "device",
            )
        resolved = (resolver or resolve)(device, self.precision)
        threads = self.threads
        if workers is None:
            room = cpu_threads() // threads if threads and resolved.kind == "cpu" else 1
            workers = min(max(room, 1), MOST_WORKERS)
        if workers == 1:
            threads = threads or quota_threads()
        else:
            threads = threads or max(cpu_threads() // workers, 1)
        return replace(resolved, threads=threads, workers=workers)

    def key(self, *path: str | int) -> str:
        """A key at `path`, as the file writes the way there: `threat.eps`, or `threat.0.eps` if `threat` is a list."""
        return ".".join(map(str, self._source.written(path)))

    def error(self, message: object, *path: str | int) -> SuiteError:
        """An error about the key at `path`, with the file and line it was written at."""
        where = self._source.where(path)
        return SuiteError(f"{where or self._file}: {message}")
