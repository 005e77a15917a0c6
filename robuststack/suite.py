"""Suite files: what to train, attack and measure, declared in YAML and checked strictly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from robuststack.errors import SuiteError
from robuststack.hardware import Hardware, cpu_threads, resolve
from robuststack.options import InvalidOptions, Options, PixelLength, option, parse
from robuststack.report import Claim, Drawing, Reference, listed
from robuststack.yaml_source import Source, merge, override, read

T = TypeVar("T")
RESERVED_LABELS = ("ca", "clean", "worst")
MOST_WORKERS = 8
"""Processes that a run starts unasked: each takes up to a gigabyte before it has done anything."""


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _named_list(value: object) -> object:
    return [_named(one) for one in value] if isinstance(value, list) else [_named(value)]


Sweep = dict[str, Annotated[list[Any], Field(min_length=1)]]


class Part(Options):
    """A component by its name, with its options. A `sweep` lists values of options: one variant for each combination."""

    name: str = Field(description="The registered name; `robuststack list` shows them all.")
    options: dict[str, Any] = option({}, "The component's options; `robuststack show KIND NAME` explains them.")
    sweep: Sweep = option({}, "Option -> list of values; the product of all lists is run.")


One = Annotated[Part, BeforeValidator(_named, json_schema_input_type=str | Part)]


class Recipe(Options):
    """How models are trained."""

    epochs: int = option(200, "Passes over the training images.", ge=1)
    batch_size: int = option(128, "Images a step; the last partial batch of an epoch is dropped.", ge=1)
    lr: float = option(0.1, "Initial learning rate.", gt=0)
    momentum: float = option(0.9, "Momentum of SGD.", ge=0, lt=1)
    nesterov: bool = option(False, "Nesterov's momentum.")
    weight_decay: float = option(5e-4, "L2 penalty.", ge=0)
    schedule: Literal["cosine", "steps", "constant"] = option("cosine", "Learning rate over the epochs.")
    milestones: list[Annotated[int, Field(ge=1)]] = option(
        [], "With `steps`: the epochs at which the learning rate is multiplied by gamma."
    )
    gamma: float = option(0.1, "With `steps`: the factor.", gt=0)
    eps: PixelLength | None = option(
        None, "Radius of the training attack; default: the threat model's. With it, one model serves several radii."
    )
    attack: One = option(
        Part(name="pgd", options={"steps": 7, "step": "oat"}), "The training attack; it must be a gradient attack."
    )
    checkpoint: Literal["last", "best"] = option(
        "last",
        "The weights to keep: of the last epoch, or of the one with the best robust accuracy on the validation split"
        " under the training attack, at the defense's most robust point. Never chosen on test.",
    )

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Recipe:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    def given(self) -> dict[str, Any]:
        """Only the keys that were written."""
        return self.model_dump(exclude_unset=True)


class ThreatSpec(Options):
    """The threat model."""

    norm: Literal["linf"] = option("linf", "The norm of the perturbation.")
    eps: PixelLength | None = option(
        None, "Radius in the [0, 1] pixel range, `8/255` is accepted; default: the dataset's."
    )


def _many(part: type[Part]) -> Any:
    return BeforeValidator(_named_list, json_schema_input_type=str | part | list[str | part])  # type: ignore[valid-type]


class DatasetPart(Part):
    """A dataset, and what it changes of the suite's threat model and recipe."""

    threat: ThreatSpec = option(ThreatSpec(), "Keys that replace the suite's threat model for this dataset.")
    train: Recipe = option(Recipe(), "Keys that replace the suite's recipe for this dataset.")
    architectures: Annotated[list[Part], _many(Part)] = option(
        [], "Networks for this dataset, in place of the suite's."
    )
    stand_in: int | None = option(
        None, "Run on so many made-up images a split, of the dataset's shape, in place of its own; no download.", ge=1
    )


class ModelSource(Options):
    """A finished model, evaluated in place of one that is trained here."""

    load: str | None = option(
        None, "Weights of the defense's form of the architecture: a .safetensors file or a PyTorch state dict."
    )
    python: str | None = option(
        None, "`package.module:function`, which is called without arguments and returns the model: a torch.nn.Module."
    )

    @property
    def text(self) -> str:
        """The file or the function, as the suite writes it."""
        return self.python or self.load or ""

    @field_validator("python")
    @classmethod
    def _place(cls, python: str | None) -> str | None:
        if python is not None and not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", python):
            raise ValueError(f"{python!r} names no function; write package.module:function")
        return python

    @model_validator(mode="after")
    def _one_of_both(self) -> ModelSource:
        if (self.load is None) == (self.python is None):
            raise ValueError("give either load (a file of weights) or python (package.module:function)")
        return self


def _points(value: object) -> object:
    if not isinstance(value, (dict, list)):
        return value
    return [{key: listed(one) for key, one in grid.items()} if isinstance(grid, dict) else grid
            for grid in (value if isinstance(value, list) else [value])]  # fmt: skip


class DefensePart(Part):
    """A defense, the operating points to evaluate it at, and what it changes of the recipe."""

    points: Annotated[
        list[Sweep], BeforeValidator(_points, json_schema_input_type=dict[str, Any] | list[dict[str, Any]])
    ] = option([], "Knob -> value or list of values; the product is evaluated. A list of such mappings is their union.")
    train: Recipe = option(Recipe(), "Keys that replace the suite's recipe for this defense.")
    model: ModelSource | None = option(None, "A finished model, evaluated in place of one that is trained here.")


class AttackPart(Part):
    """An attack; `label` names its column."""

    label: str | None = option(None, "The column's name in the leaderboard; default: the attack's own.", min_length=1)

    @field_validator("label")
    @classmethod
    def _free(cls, label: str | None) -> str | None:
        if label in RESERVED_LABELS:
            raise ValueError(f"{label!r} is a name of the leaderboard's own; choose another")
        return label


class Seeds(Options):
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


class Evaluate(Options):
    """How models are scored."""

    split: Literal["test", "validation"] = option("test", "The images to score on.")
    limit: int | None = option(None, "Score on the first so many images only.", ge=1)
    batch_size: int = option(500, "Images a batch; one noise draw serves a whole batch.", ge=1)
    draws: int = option(20, "Fresh noise draws that judge a randomised point; deterministic points use one.", ge=2)
    protocols: Annotated[list[str], BeforeValidator(listed, json_schema_input_type=str | list[str])] = option(
        ["adaptive"], "Scoring protocols; a defense without one of them is scored by `adaptive` alone.", min_length=1
    )
    points: Literal["all", "ends"] = option("all", "Score every operating point, or each defense's first and last.")
    keep_images: bool = option(
        True, "Keep the adversarial images in the store, as float32: 8 bits would change verdicts."
    )


class Measure(Options):
    """What is measured beside accuracy."""

    latency: bool = option(True, "Time forward passes at batch 1 and at `batch_size`.")
    batch_size: int = option(128, "The larger of the two batches.", ge=1)
    repeats: int = option(30, "Timed forward passes; median and quartiles are reported.", ge=3)
    warmup: int = option(5, "Forward passes before them.", ge=0)


def _seeds(value: object) -> object:
    return {"train": value} if isinstance(value, (int, list)) and not isinstance(value, bool) else value


def _of(model: type[Options]) -> Any:
    return BeforeValidator(listed, json_schema_input_type=model | list[model])  # type: ignore[valid-type]


class Suite(Options):
    """A suite. Any part may be a list; the product of all lists is the plan."""

    name: str = option("", "Names the leaderboard; default: the file's name.")
    description: str = option("", "What the suite shows; printed above the table.")
    extends: str | None = option(None, "A suite file, relative to this one, whose keys this one replaces.")
    datasets: Annotated[list[DatasetPart], _many(DatasetPart)] = Field(description="Data.", min_length=1)
    architectures: Annotated[list[Part], _many(Part)] = option(
        [], "Networks; may be left out where every defense brings its own."
    )
    threat: Annotated[list[ThreatSpec], _of(ThreatSpec)] = option([ThreatSpec()], "Threat models.", min_length=1)
    train: Annotated[list[Recipe], _of(Recipe)] = option([Recipe()], "Training recipes.", min_length=1)
    defenses: Annotated[list[DefensePart], _many(DefensePart)] = Field(description="Defenses.", min_length=1)
    attacks: Annotated[list[AttackPart], _many(AttackPart)] = Field(description="Attacks.", min_length=1)
    seeds: Annotated[Seeds, BeforeValidator(_seeds, json_schema_input_type=int | list[int] | Seeds)] = option(
        Seeds(), "Seeds of training and attack; a bare number or list names training seeds."
    )
    evaluate: Evaluate = option(Evaluate(), "How models are scored.")
    measure: Measure = option(Measure(), "What is measured beside accuracy.")
    figures: list[Drawing] = option([], "Figures drawn beside the table, as SVG.")
    reference: list[Reference] = option([], "Published rows to show beside ours.")
    claims: list[Claim] = option([], "Published comparisons to show beside ours.")
    precision: Literal["auto", "float32", "bf16"] = option(
        "auto", "Arithmetic of training and attacks: bf16 where the hardware has it. Judging is always float32."
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

    _source: Source = PrivateAttr(default_factory=lambda: Source({}))
    _file: Path = PrivateAttr(default=Path("suite.yaml"))
    _overrides: tuple[str, ...] = PrivateAttr(default=())

    @field_validator("name")
    @classmethod
    def _file_name(cls, name: str) -> str:
        if name and not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
            raise ValueError(f"{name!r} cannot name a file; use letters, digits, '.', '_' and '-'")
        return name

    @property
    def file(self) -> Path:
        return self._file

    @property
    def overrides(self) -> tuple[str, ...]:
        """The `--set` assignments, as given."""
        return self._overrides

    def hardware(self, device: str = "auto", workers: int | None = None) -> Hardware:
        """What a run of it on `device` gets, with `workers` jobs at a time (None: what `threads` leaves room for).

        Raises:
            SuiteError: a device other than the one that the suite is for.
            RobustStackError: a device that this machine does not have.
        """
        if device == "auto":
            device = self.device
        elif self.device not in ("auto", device.partition(":")[0]):
            raise self.error(
                f"the suite is for device {self.device}, not {device}; leave --device out, or add --set device=auto",
                "device",
            )
        found = resolve(device, self.precision)
        threads = self.threads
        if workers is None:
            room = cpu_threads() // threads if threads and found.kind == "cpu" else 1
            workers = min(max(room, 1), MOST_WORKERS)
        elif workers > 1:
            threads = threads or max(cpu_threads() // workers, 1)
        return replace(found, threads=threads, workers=workers)

    def error(self, message: object, *path: str | int) -> SuiteError:
        """An error about the key at `path`, with the file and line it was written at."""
        where = self._source.where(path)
        return SuiteError(f"{where or self._file}: {message}")


def load_suite(path: str | Path, overrides: Sequence[str] = ()) -> Suite:
    """Read a suite file, what it extends, and `KEY=VALUE` overrides.

    Raises:
        SuiteError: with file, line and column, what is wrong and what would be valid.
    """
    file = Path(path)
    source = _extended(file, ())
    for assignment in overrides:
        changed = override(source, assignment)
        if changed[0] == "extends":
            raise SuiteError(f"--set {assignment}: a suite's base is chosen in its file, not by --set")
        _let_win(source, changed)
    source.data["name"] = source.data.get("name") or file.stem
    _refuse_namesakes(file, str(source.data["name"]))
    return suite_of(source, file, overrides)


def suite_of(source: Source, file: Path, overrides: Sequence[str] = ()) -> Suite:
    """The suite that a source says, its overrides applied; `file` is what its leaderboard is known by.

    Raises:
        SuiteError: with the mark of what is wrong.
    """
    try:
        suite = parse(Suite, source.data)
    except InvalidOptions as error:
        raise SuiteError(f"{source.where(error.path) or file}: {error}") from None
    suite._source, suite._file, suite._overrides = source, file, tuple(overrides)
    return suite


def _extended(file: Path, seen: tuple[Path, ...]) -> Source:
    source = read(file)
    if file.resolve() in seen:
        raise SuiteError(f"{source.where(('extends',))}: {file} extends itself")
    base_name = source.data.get("extends")
    if base_name is None:
        return source
    if not isinstance(base_name, str):
        raise SuiteError(f"{source.where(('extends',))}: extends: must be a file name, not {base_name!r}")
    base_file = file.parent / base_name
    if not base_file.is_file():
        raise SuiteError(f"{source.where(('extends',))}: extends: no such file: {base_file}")
    base = _extended(base_file, (*seen, file.resolve()))
    base.data.pop("name", None)  # A suite does not inherit the name: two leaderboards would overwrite each other.
    return merge(base, source)


def _let_win(source: Source, path: tuple[str | int, ...]) -> None:
    """What `--set` says of the whole suite's recipe or threat also replaces what single datasets and defenses say."""
    section, keys = path[0], [part for part in path[1:] if isinstance(part, str)][:1]
    if section not in ("train", "threat"):
        return
    if not keys:
        keys = [key for one in listed(source.data[section]) if isinstance(one, dict) for key in one]
    for kind in ("datasets", "defenses"):
        parts = source.data.get(kind)
        for part in parts if isinstance(parts, list) else [parts]:
            own = part.get(section) if isinstance(part, dict) else None
            if isinstance(own, dict):
                for key in keys:
                    own.pop(key, None)


def _refuse_namesakes(file: Path, name: str) -> None:
    for other in sorted(file.parent.glob("*.y*ml")):
        if other.resolve() == file.resolve() or not other.is_file():
            continue
        written = re.search(
            r"^name:\s*[\"']?([\w.-]+)", other.read_text(encoding="utf-8", errors="replace"), re.MULTILINE
        )
        if (written[1] if written else other.stem) == name:
            raise SuiteError(f"{file}: {other} is a suite named {name!r} too; give one of them another `name:`")
