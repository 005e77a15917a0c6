"""A row of a leaderboard: its figures, what they are about, and how they were obtained."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from robuststack.image_selection import LimitRule
from robuststack.leaderboard.provenance import (
    Checks,
    Effort,
    Machine,
    ResolvedRecipe,
    RowJobs,
    RowSeeds,
    UserModelRecord,
    Versions,
)
from robuststack.leaderboard.record import Count, Percent, Record, SparseRecord, Values
from robuststack.plugin.threat import Threat
from robuststack.wording import component_text, percent_text, points_text, threat_text

WORST = "worst"
"""The key of `ra` that stands for all attacks together."""
EXPECTED = "expected"
"""The reading that `ca` and `ra` of a row are: the chance that one judging draw is right."""
CLEAN = "ca"
"""The key of a row, and of its jobs, that stands for clean accuracy."""


class ReadFigure(Record):
    """An accuracy in percent by some reading, with its 95 % interval if it has one."""

    value: Percent
    low: Percent | None
    high: Percent | None
    interval: str
    """How the interval was made: `wilson`, or `t` for one with Student's quantiles of seeds, images and judging draws;
    `none` for a reading of more than half of the draws."""
    seeds: dict[str, Percent] | None = None
    """With several runs: "training seed/attack seed", or "training seed/attack seed/bake" if a baked draw stands for the
    model -> the accuracy of that run."""
    lowest: Percent | None = None
    """With several seeds: the lowest accuracy of a training seed, the mean over its runs, or of a run if there is one
    training seed."""
    highest: Percent | None = None
    """The highest of them."""
    spread: float | None = None
    """The standard deviation over them."""

    @property
    def text(self) -> str:
        """`98.4 [97.0, 99.2]`; of several seeds `98.4 [97.0, 99.2] (97.9-98.8)`, with the lowest and the highest."""
        return percent_text(self.value, self.low, self.high, self.lowest, self.highest)


class DrawsPoint(Record):
    """What an attack that averages over some number of draws left of the probe."""

    draws: Annotated[int, Field(ge=1)]
    accuracy: Percent
    """Robust accuracy of the probe's images, judged on draws that no attack has seen."""
    low: Percent
    high: Percent
    """Its 95 % interval."""
    passes: Annotated[float, Field(ge=0)]
    """Forward passes of the attack for each image; a gradient counts one more."""


class DrawsChoice(Record):
    """How the number of draws that an attack averages over was chosen (`draws: auto`)."""

    draws: Annotated[int, Field(ge=1)]
    cap_reached: bool
    """Whether more draws could still lower the figure by over a point, as far as the probe tells."""
    n: Count
    """Images of the probe."""
    curve: tuple[DrawsPoint, ...]
    """Every number of draws that was tried."""
    job: str
    """The job that chose."""

    @property
    def text(self) -> str:
        """`8 (auto)` or `64 (auto, cap reached)`."""
        return f"{self.draws} (auto{', cap reached' if self.cap_reached else ''})"


class Figure(ReadFigure):
    """An accuracy in percent with its 95 % interval."""

    low: Percent
    high: Percent


class Latency(Record):
    """The time of one float32 forward pass, in milliseconds."""

    median: Annotated[float, Field(ge=0)]
    low: Annotated[float, Field(ge=0)]
    """The lower quartile."""
    high: Annotated[float, Field(ge=0)]
    """The upper quartile."""
    relative: float | None = None
    """Times the median of the same architecture undefended, measured in turn with it."""

    def __mul__(self, passes: int) -> Latency:
        """The time of so many passes."""
        relative = None if self.relative is None else passes * self.relative
        return Latency(median=passes * self.median, low=passes * self.low, high=passes * self.high, relative=relative)


class ReadScores(Record):
    """A row by one protocol and one reading of its labels: what a vote, or an attacker who may try again, makes of it."""

    ca: ReadFigure
    """Clean accuracy."""
    ra: dict[str, ReadFigure]
    """Robust accuracy by attack, and `worst`."""
    passes: Count
    """Forward passes of one answer: R for a majority of R at a randomised point, else 1."""
    macs: Count
    """Multiply-accumulates of one answer for one image."""
    latency_ms: dict[int, Latency]
    """Batch size -> time of one answer."""

    @property
    def worst(self) -> ReadFigure:
        """Robust accuracy against all attacks together."""
        return self.ra[WORST]


class VariancePart(Record):
    """How far a figure would move, as a standard deviation in points, if one thing alone were drawn again, once."""

    sd: Annotated[float, Field(ge=0)] | None
    """None if the row's runs cannot tell it apart: a single seed."""
    low: Annotated[float, Field(ge=0)] | None
    """The 95 % interval."""
    high: Annotated[float, Field(ge=0)] | None


class Predictions(SparseRecord):
    """What the clean images say of the predicted labels themselves, and of the attacks."""

    left_out: ClassVar[frozenset[str]] = frozenset({"helped"})
    chance: Percent
    """How often the most frequent class is the true one: what a model has that always names it."""
    most_named: Percent
    """How often the class that is named most is named."""
    helped: Percent = 0.0
    """How many images are wrong when clean and right under every attack; at a randomised point by how much robust accuracy
    lies above clean accuracy. RA counts them. A file leaves the key out if there are none."""


class OverfittingRecord(Record):
    """That a training run overfitted catastrophically before the weights that it kept."""

    epoch: Annotated[int, Field(ge=1)]
    """After which it showed first."""
    pgd: Percent
    """Robust accuracy under PGD then, on images of the validation split."""
    fgsm: Percent
    """The same under FGSM."""


class Scores(SparseRecord):
    """A row by one protocol."""

    left_out: ClassVar[frozenset[str]] = frozenset({"draws_chosen", "readings"})
    ca: Figure
    """Clean accuracy."""
    ra: dict[str, Figure]
    """Robust accuracy by attack, and `worst`: image by image the lowest of all attacks."""
    attacks: dict[str, Values]
    """Attack -> its options as they were resolved at this row's point."""
    draws_chosen: dict[str, dict[str, DrawsChoice]] = Field(default_factory=dict)
    """Attack with `draws: auto` -> "training seed/attack seed" -> the draws that it averages over, and why. A file leaves
    the key out if no attack has it."""
    readings: dict[str, ReadScores] = Field(default_factory=dict)
    """The readings beside the expected one that the suite asks for: `majority 5` -> its figures."""

    @property
    def worst(self) -> Figure:
        """Robust accuracy against all attacks together."""
        return self.ra[WORST]

    @property
    def single_attacks(self) -> list[str]:
        """The labels of the attacks, without `worst`."""
        return [label for label in self.ra if label != WORST]

    @model_validator(mode="after")
    def _has_the_worst_case(self) -> Scores:
        if WORST not in self.ra:
            raise ValueError(f"key {f'ra.{WORST}'!r} is missing")
        return self


class LadderGap(Record):
    """Robust accuracy by `adaptive` minus that by another rung of the ladder, worst case, in points, with its 95 %
    interval."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """`+2.2 [-0.9, +5.3]`."""
        return points_text(self.value, self.low, self.high)


ExtraValue = bool | int | float | str | None
"""What a plugin's column holds in a row."""


class Row(Scores):
    """One trained model at one operating point, on one dataset, under one threat model."""

    left_out: ClassVar[frozenset[str]] = Scores.left_out | {"variance", "predictions", "overfitting", "shift"}
    label: str
    """What the row is about: dataset, architecture, defense with the options that tell it apart, operating point."""
    variant: tuple[str, ...]
    """The dataset and the network, as labels name them."""
    dataset: str
    dataset_options: Values
    dataset_notes: tuple[str, ...]
    """What the dataset says of how its data was read."""
    classes: tuple[str, ...]
    """The names of the classes, by label; empty for a dataset that names none."""
    split: str
    """The split that the images are of."""
    limit: int | None
    """How many images of the split were taken; None for all."""
    limit_rule: LimitRule | None
    """How they were chosen: each class in proportion, or the first ones."""
    block: Count
    """Images a block: attacked and judged at a time, on one noise draw."""
    architecture: str | None
    architecture_options: Values
    defense: str
    undefended: bool
    """Whether the model is a plain network, which others are compared with."""
    options: Values
    """The defense's resolved options."""
    shown: Values
    """The options that are printed beside the defense's name."""
    point: Values
    """The operating point: the value of each knob."""
    retrained: tuple[str, ...]
    """The keys of `point` that are options for which a model is trained for each value."""
    threat: Threat
    recipe: ResolvedRecipe | None
    """None for a model that was not trained here."""
    user_model: UserModelRecord | None
    """The model that the user brought, if the user brought one."""
    device: str
    precision: str
    """Of training and attacks; images are judged in float32."""
    stochastic: bool
    """Whether two forward passes differ."""
    protocol: str
    """How `ca` and `ra` were scored."""
    protocols: dict[str, Scores]
    """The same row by other protocols."""
    inapplicable: dict[str, str]
    """Rung of the ladder that the suite asks for -> why this point does not have it."""
    gaps: dict[str, LadderGap]
    """Rung of the ladder -> how far robust accuracy by `adaptive` lies above that by the rung. For `frozen_known` that is
    what the secrecy of the draw is worth; for `off` and `surrogate`, above 0 means that `adaptive` is too weak."""
    shift: dict[str, Figure] = Field(default_factory=dict)
    """Accuracy under natural shifts, such as noise or blur, by label: no attacker, no ball, and no part of `ra`."""
    n: Count
    """Images."""
    draws: Count
    """Noise draws that judge each image; 1 at a deterministic point."""
    seeds: RowSeeds
    parameters: Count
    nonzero_parameters: Count
    macs: Count
    """Multiply-accumulates of one image."""
    latency_ms: dict[int, Latency]
    """Batch size -> time of one forward pass."""
    train_seconds_per_epoch: float | None
    """The median over epochs, as the mean over seeds. Of several phases, the time of them all by the epochs of the recipe:
    two networks of as many epochs cost the sum of what each would cost."""
    effort: Effort
    inspected: dict[str, dict[str, float]]
    """What the defense shows of its trained model: title -> layer -> value, the mean over training seeds."""
    overfitting: dict[int, OverfittingRecord] = Field(default_factory=dict)
    """Training seed -> its catastrophic overfitting. It is watched for in training by attacks of one step."""
    layers: dict[str, tuple[str, ...]]
    """Title -> the layers of `inspected` from the input on."""
    checks: Checks
    predictions: Predictions | None = None
    """Of the clean images by the headline's protocol; None in a row that was not made from labels."""
    variance: dict[str, dict[str, VariancePart]] = Field(default_factory=dict)
    """`ca` and `worst` -> where their variance comes from (`training seed`, `attack seed`, `inference draw`, `test images`)
    -> how much."""
    versions: Versions
    machine: Machine
    jobs: RowJobs
    extra: dict[str, ExtraValue]
    """Columns that plugins add. The only part of a row that changes after it was made."""

    @property
    def heading(self) -> str:
        """What the rows of one table share: data, network and threat model."""
        return ", ".join([*self.variant, threat_text(self.threat.norm, self.threat.eps)])

    @property
    def title(self) -> str:
        """`oat dim=128`: the defense, and what tells it apart."""
        return component_text(self.defense, self.shown)

    @property
    def scores(self) -> dict[str, Scores]:
        """Every protocol with its scores, the headline's first."""
        return {self.protocol: self, **self.protocols}

    def figures(self, protocol: str) -> dict[str, Figure]:
        """Every accuracy by a protocol: `ca`, natural shifts (of the headline's protocol), attacks and `worst`."""
        scores = self.scores[protocol]
        return {CLEAN: scores.ca, **(self.shift if protocol == self.protocol else {}), **scores.ra}

    def judge_jobs(self, protocol: str) -> dict[str, dict[str, str]]:
        """Figure, except `worst` -> run -> the judge job behind it, by a protocol that the row was scored by."""
        return {**self.jobs.scores[protocol], **(self.jobs.shift if protocol == self.protocol else {})}

    @property
    def audited_jobs(self) -> frozenset[str]:
        """The judge jobs that an audit of this row is of: the headline's, of each attack, of the first run of each training
        seed."""
        jobs: dict[tuple[str, str], str] = {}
        for figure, runs in self.jobs.scores.get(self.protocol, {}).items():
            for run in sorted(runs, key=lambda text: [*map(int, text.split("/"))]):
                jobs.setdefault((figure, run.partition("/")[0]), runs[run])
        return frozenset(job for (figure, _), job in jobs.items() if figure != CLEAN)

    def figure_name(self, figure: str, protocol: str | None = None) -> str:
        """`CA`, `CA gaussian_noise-3`, `RA worst`, `RA PGD-20 (published)`."""
        name = "CA" if figure == CLEAN else f"CA {figure}" if figure in self.shift else f"RA {figure}"
        return f"{name} ({protocol})" if protocol else name

    def under(self, reading: str) -> Row:
        """The row with the figures and the costs by one of its readings, such as `majority 5`; natural shifts, which are
        read by the expected one alone, are left out.

        Raises:
            KeyError: it has no such reading.
        """
        if reading == EXPECTED:
            return self
        read = self.readings[reading]
        protocols = {
            name: scores.model_copy(update={"ca": scores.readings[reading].ca, "ra": scores.readings[reading].ra})
            for name, scores in self.protocols.items()
        }
        changes = {"ca": read.ca, "ra": read.ra, "macs": read.macs, "latency_ms": read.latency_ms, "shift": {}}
        return self.model_copy(update={**changes, "protocols": protocols})

    def scored_by(self, protocol: str) -> Row:
        """The row with the figures by one of its `scores`; natural shifts, which are scored by the headline's protocol
        alone, are left out of others.

        Raises:
            KeyError: it was not scored so.
        """
        if protocol == self.protocol:
            return self
        scores = self.protocols[protocol]
        changes = {name: getattr(scores, name) for name in Scores.model_fields}
        return self.model_copy(update={**changes, "protocol": protocol, "protocols": {}, "shift": {}})

    @model_validator(mode="after")
    def _every_figure_has_jobs(self) -> Row:
        for protocol, scores in self.scores.items():
            jobs = self.jobs.scores.get(protocol, {})
            for figure in ("ca", *scores.single_attacks):
                if not jobs.get(figure):
                    raise ValueError(f"key {f'jobs.scores.{protocol}.{figure}'!r} is missing")
        return self
