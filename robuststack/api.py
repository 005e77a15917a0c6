"""What Python users call: run a suite, evaluate one model, audit either, load a trained one."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from robuststack.errors import PluginError, RobustStackError
from robuststack.evidence.checks.catalogue import chosen
from robuststack.evidence.readings import Reading
from robuststack.leaderboard import board_labels
from robuststack.leaderboard.audit import AUDIT_SCHEMA, Audit, CheckQuestion, write_audit
from robuststack.leaderboard.audit_table import audit_table
from robuststack.leaderboard.audit_target import audit_target
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.board_file import claim, suite_place, write_board
from robuststack.leaderboard.board_labels import Labels
from robuststack.leaderboard.board_lookup import load_board, load_labels
from robuststack.leaderboard.board_maker import make_board
from robuststack.leaderboard.comparison import LabelledRows, RowComparison, RowSource, compare_rows, sources
from robuststack.leaderboard.difference import RowReader
from robuststack.leaderboard.extra import check_extra
from robuststack.leaderboard.formats import as_text
from robuststack.leaderboard.game import Game
from robuststack.leaderboard.game_maker import make_games
from robuststack.leaderboard.notebook import as_dataframe, as_html, plane, summary
from robuststack.leaderboard.row import Row
from robuststack.leaderboard.row_maker import make_rows
from robuststack.leaderboard.suspicion import doubtful_rows
from robuststack.leaderboard.training_curves import training_curves
from robuststack.paths import LEADERBOARD, STORE, absolute, data_folder
from robuststack.plan.audit import IMAGES as AUDITED_IMAGES
from robuststack.plan.components import component
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plan.specs import BlocksSpec, TrainSpec, parse_spec
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.defense import Defense
from robuststack.plugin.registry import Registry
from robuststack.plugin.tracker import tracked
from robuststack.running.audit import run_audit
from robuststack.running.executors import executor
from robuststack.running.pipeline import Outcome, run_plan
from robuststack.running.store import Store
from robuststack.suite.live_model import Points, expanded_points
from robuststack.suite.live_suite import live_suite
from robuststack.suite.loading import load_suite, suite_from
from robuststack.suite.single_model import single_suite
from robuststack.suite.smoke import shrunk
from robuststack.suite.suite import Suite
from robuststack.suite.user_model import user_modules
from robuststack.wording import options_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from torch import nn

LOG = logging.getLogger(__name__)
"""Where notes on data and models go: to standard error, unless a program gives the logger `robuststack` another place."""

__all__ = ["AuditResult", "Result", "Trained", "audit", "compare", "evaluate", "load_model", "load_suite", "run"]


@dataclass(repr=False)
class Result:
    """What a run gives back. `rows` are those of the leaderboard; `row.model_dump(mode="json")` is one as a dictionary."""

    plan: Plan
    outcome: Outcome
    rows: list[Row]
    games: list[Game] = field(default_factory=list)
    """The knobs of tunable defenses as games, if the suite asks for them."""
    files: list[Path] = field(default_factory=list)
    labels: Mapping[str, Labels] = field(default_factory=dict, repr=False)
    """The labels behind the rows, by judge job."""
    registry: Registry | None = field(default=None, repr=False)
    """What is registered where it ran: a model of the program too."""

    @property
    def failed(self) -> dict[str, str]:
        """Label of each failed job -> why."""
        return {self.plan.by_id[job].label: str(error) for job, error in self.outcome.failed.items()}

    @property
    def notes(self) -> list[str]:
        """How the data was read, a line each: the order of the classes, files that were left out, labels that never occur.
        They were logged before anything was computed."""
        return self.plan.notes

    @property
    def suspicions(self) -> list[str]:
        """What makes figures doubtful, a line for each such row, such as gradients that are zero."""
        return doubtful_rows(self.rows)

    def __repr__(self) -> str:
        return summary(self.rows, self.failed)

    def _repr_html_(self) -> str:
        return as_html(self._board)

    def to_dataframe(self) -> DataFrame:
        """A pandas DataFrame, a row for each figure: clean accuracy, and robust accuracy under each attack, by protocol.

        Raises:
            RobustStackError: pandas is not installed.
        """
        return as_dataframe(self.rows)

    def plot(self) -> Figure:
        """Clean and robust accuracy of every row in one plane, as a matplotlib Figure: a notebook shows it, `savefig` keeps
        it."""
        return plane(self.rows)

    def table(self, style: str = "simple") -> str:
        """The leaderboard as text, in one of tabulate's formats, and below it the `suspicions`."""
        return as_text(self._board, style)

    @property
    def _board(self) -> Board:
        return make_board(self.plan, self.rows, self.labels, complete=True, games=self.games)


def run(
    suite: str | Path | Suite | Mapping[str, Any],
    *,
    store: str | Path = STORE,
    leaderboard: str | Path | None = LEADERBOARD,
    device: str = "auto",
    overrides: Sequence[str] = (),
    only: str | None = None,
    smoke: bool = False,
    wait: float = 0.0,
    workers: int | None = 1,
    track: str | Path | None = None,
    registry: Registry | None = None,
) -> Result:
    """Train, attack and measure what a suite declares, and write its leaderboard.

    `suite` is a file, what `load_suite` made of one, or the same keys as a dictionary.

    Finished jobs are taken from `store`. `overrides` are `KEY=VALUE` strings, `only` a pattern of row labels; `smoke` runs
    the smallest suite that still goes through all of the code, on made-up images; `wait` is how many seconds to wait for
    jobs that another run holds; in the folder `track` the installed trackers write how it goes. Where jobs fail, their
    rows are missing and the rest is written beside the full leaderboard, to `<suite>.partial.*`. Without a `leaderboard`
    folder nothing is written.

    `workers` is how many jobs run at a time: one in this process; several in processes of their own, which find plugins by
    their entry points (a script must guard its beginning by `if __name__ == "__main__"`); None for what the suite's
    `threads` leaves room for.

    Raises:
        RobustStackError: the suite, a plugin, the data or the store cannot be used.
    """
    registry = registry or Registry()
    if isinstance(suite, Mapping):
        loaded = suite_from(suite, overrides)
    else:
        loaded = suite if isinstance(suite, Suite) else load_suite(suite, overrides)
    if smoke:
        loaded = shrunk(loaded, registry)
    plan = make_plan(loaded, registry, loaded.hardware(device, workers))
    with user_modules(), tracked(registry, track):
        return _run(plan.only(only) if only else plan, store, leaderboard, wait, registry)


def evaluate(
    model: object = None,
    *,
    data: Any = None,
    data_options: Mapping[str, Any] | None = None,
    dataset: str | None = None,
    load: str | Path | None = None,
    python: str | None = None,
    architecture: str | None = None,
    defense: str = "none",
    attacks: Sequence[str] = ("pgd",),
    points: Sequence[str] | Points = (),
    eps: float | str | None = None,
    norm: str | None = None,
    draws: int | None = None,
    limit: int | None = None,
    stochastic: bool = False,
    name: str | None = None,
    overrides: Sequence[str] = (),
    store: str | Path = STORE,
    leaderboard: str | Path | None = None,
    device: str = "auto",
    wait: float = 0.0,
    registry: Registry | None = None,
) -> Result:
    """Attack and measure one finished model, without a suite file.

    `model` is a torch.nn.Module, or a function: images float32 [N, C, H, W] in [0, 1] -> logits [N, K]. A function without
    gradients can be attacked by attacks that only call it. With `points`, such as `{"lambda_n": [0, 0.2, 1]}`, `model` is
    anything with a method `at`, which is called with the knobs of each point and returns the model there. The model is
    copied; the program's own stays as it is. `name` is what tables call it (default: its class). `stochastic` says that two
    forward passes differ.

    `data` are test images and labels: a pair of NumPy arrays or torch tensors (uint8, or floats in [0, 1]; [N, C, H, W], or
    [N, H, W] of one channel), a torch Dataset or DataLoader of such pairs, or the name of a registered dataset with its
    options, `digits`. `data_options` are options of that dataset, or of `npz`, which reads arrays: `{"layout": "nhwc"}`.
    Arrays are copied once into the store. A result is kept there and is used again while all that the model is made of,
    what it says of the images, and the images are the same.

    Without a `model` it is `load`, a file of weights of `architecture` under `defense`, or `python`, a
    `package.module:function` that returns it, or that of a `defense` which brings its own. Its `points` may also be texts,
    `lambda_n=0.2 lambda_th=0.5`; without any, the defense's own are scored.

    Components are strings, a name with its options: `pgd steps=50`. `eps` is the dataset's, `norm` is `linf`, `draws` and
    `limit` are the defaults of a suite, where they are not given; `overrides` set any other key of a suite. The store is
    used as by `run`; a leaderboard is written only where a folder is named.

    Raises:
        RobustStackError: a model, a component or an option that cannot be used, in the words of `robuststack evaluate`.
    """
    registry = registry or Registry()
    if model is not None:
        given = {"load": load, "python": python, "architecture": architecture, "dataset": dataset}
        taken = [key for key, value in given.items() if value is not None]
        if taken or data is None:
            what = f"{taken[0]}= is for a model that is not given itself" if taken else "data= is missing"
            raise RobustStackError(f"evaluate: {what}; write evaluate(model, data=(images, labels))")
        from robuststack.engine.live_network import untouched

        with untouched(model):
            suite = live_suite(
                model, registry, data=data, data_options=data_options or {}, folder=Store(store).root / "data",
                points=points, attacks=attacks, eps=eps, norm=norm, draws=draws, limit=limit, stochastic=stochastic,
                name=name, overrides=overrides,
            )  # fmt: skip
            return _score(suite, store, leaderboard, device, wait, registry)
    own = {"data": data, "data_options": data_options, "name": name}
    if taken := [key for key, value in own.items() if value is not None]:
        raise RobustStackError(
            f"evaluate: {taken[0]}= is for a model that is given itself: evaluate(model, data=(images, labels)); other"
            " models take dataset="
        )
    if dataset is None:
        raise RobustStackError("evaluate: dataset= is missing, such as dataset='digits'")
    texts = expanded_points(points) if isinstance(points, Mapping) else points
    suite = single_suite(
        dataset=dataset, defense=defense, architecture=architecture, attacks=attacks,
        load=None if load is None else str(load), python=python,
        points=[point if isinstance(point, str) else options_text(point) for point in texts],
        eps=eps, norm=norm, stochastic=stochastic, draws=draws, limit=limit, overrides=overrides,
    )  # fmt: skip
    (part,) = suite.defenses
    with contextlib.suppress(PluginError):  # The plan says what is wrong with it.
        if part.model is None and registry.create("defense", part.name, part.options).trains:
            reason = "has no model of its own; give it one with --load FILE or --python MODULE:FUNCTION"
            raise RobustStackError(f"--defense {defense}: {part.name!r} {reason}")
    return _score(suite, store, leaderboard, device, wait, registry)


def _score(
    suite: Suite, store: str | Path, leaderboard: str | Path | None, device: str, wait: float, registry: Registry
) -> Result:
    """One finished model, in this process."""
    plan = make_plan(suite, registry, suite.hardware(device, 1))
    with user_modules(), tracked(registry, None):
        return _run(plan, store, leaderboard, wait, registry)


@dataclass
class AuditResult:
    """What an audit gives back. `audit.rows` are its rows, each with a verdict of every check."""

    audit: Audit
    failed: dict[str, str]
    """Label of each failed job -> why. A check that needs one is `open`."""
    files: list[Path] = field(default_factory=list)

    def table(self, style: str = "simple") -> str:
        """The verdicts as text: a table of rows and checks in one of tabulate's formats, then the reasons."""
        return audit_table(self.audit, style)


def audit(
    target: str | Path | Suite | Result,
    *,
    only: str | None = None,
    checks: Sequence[str] = (),
    images: int = AUDITED_IMAGES,
    store: str | Path = STORE,
    leaderboard: str | Path | None = LEADERBOARD,
    device: str = "auto",
    overrides: Sequence[str] = (),
    wait: float = 0.0,
    workers: int | None = 1,
    track: str | Path | None = None,
    registry: Registry | None = None,
) -> AuditResult:
    """Ask whether the figures of a suite, a leaderboard or a model can be believed: the checks of the standard.

    `target` is a suite or its file, the JSON file of a leaderboard or the name that it has in the folder `leaderboard`, or
    what `run` or `evaluate` gave back: `audit(evaluate(model, data=(images, labels)))` audits a model of your own. A
    leaderboard is audited on its suite with the overrides that it was made with. `only` is a pattern of row labels,
    `checks` names of checks, by default all that apply; each looks at a seeded sample of `images` images of the row.
    What the store has is taken from there; models and attacks of the suite that it lacks are made first.

    The audit is written beside the leaderboard, to `<suite>.audit.json`, or to `<suite>.partial.audit.json` if rows or
    checks are left out. Without a `leaderboard` folder nothing is written. The other arguments are those of `run`.

    Raises:
        RobustStackError: an unknown check, or the suite, the leaderboard, a plugin, the data or the store cannot be used.
    """
    asked = chosen(checks)
    if images < 1:
        raise RobustStackError(f"images {images}: at least one image is needed")
    registry = registry or (target.registry if isinstance(target, Result) else None) or Registry()
    folder = None if leaderboard is None else absolute(leaderboard)
    if isinstance(target, Result):
        plan, rows = target.plan, list(target.plan.rows)
        wanted = plan.only(only).rows if only else rows
    else:
        named = audit_target(target, absolute(LEADERBOARD) if folder is None else folder, overrides)
        folder = None if folder is None else named.folder
        plan = make_plan(named.suite, registry, named.suite.hardware(device, workers))
        rows = named.rows(plan)
        wanted = [row for row in plan.only(only).rows if row in rows] if only else rows
    if folder is not None:
        claim(plan, folder)
    storage = Store(store)
    with user_modules(), tracked(registry, track), executor(registry, storage, data_folder(), plan.hardware) as running:
        audited = run_audit(plan, wanted, asked, storage, running, registry, images=images, wait=wait)
    record = Audit(
        schema_=AUDIT_SCHEMA,
        suite=plan.suite.name,
        suite_file=None if folder is None else suite_place(plan, folder),
        overrides=tuple(plan.suite.overrides),
        complete=plan.complete and len(wanted) == len(plan.rows) and asked == chosen(),
        device=plan.hardware.kind,
        precision=plan.hardware.precision,
        checks=tuple(CheckQuestion(name=check.name, question=check.question) for check in asked),
        rows=tuple(audited.rows),
    )
    return AuditResult(record, audited.failed, [] if folder is None else [write_audit(record, folder)])


def _run(plan: Plan, store: str | Path, leaderboard: str | Path | None, wait: float, registry: Registry) -> Result:
    if leaderboard is not None:
        leaderboard = absolute(leaderboard)
        claim(plan, leaderboard)
    for note in plan.notes:
        LOG.warning(note)
    storage = Store(store)
    with executor(registry, storage, data_folder(), plan.hardware) as running:
        outcome = run_plan(plan, storage, running, registry, wait=wait)
    rows = make_rows(plan, outcome, storage)
    games = make_games(plan, outcome, storage)
    registry.hooks.hook.rows_ready(rows=rows)
    check_extra(rows)
    labels = board_labels.collect(rows, storage, outcome.results)
    written = []
    if rows and leaderboard is not None:
        curves = training_curves(plan, outcome)
        written = write_board(plan, rows, labels, leaderboard, curves, games)
    return Result(plan, outcome, rows, games, written, labels, registry)


@dataclass
class Trained:
    """A model from the store. `at` gives it at an operating point."""

    job: str
    label: str
    defense: Defense
    dataset: Dataset
    model: nn.Module
    spec: TrainSpec
    """What it was trained on and how."""

    def point(self, **knobs: Any) -> dict[str, Any]:
        """An operating point, whole: knobs that are not named keep their defaults; `lambda` is written `lambda_`.

        Raises:
            RobustStackError: the defense has no such knob or point.
        """
        return self.defense.whole_point(knobs)

    def at(self, *, frozen: bool = False, **knobs: Any) -> nn.Module:
        """The model at an operating point, in eval mode: images [N, C, H, W] in [0, 1] -> logits [N, K].

        Knobs that are not named keep their defaults; `lambda` is written `lambda_`. Points share the weights. `frozen`
        gives an independent deterministic copy with one draw of its noise.

        Raises:
            RobustStackError: the defense has no such knob or point, or noise that cannot be frozen.
        """
        model = self.defense.deploy(self.model, self.point(**knobs), frozen=frozen)
        if frozen:
            import torch

            with torch.no_grad():  # A frozen model checks itself in its first pass.
                model(torch.rand(1, *self.dataset.shape, generator=torch.Generator().manual_seed(0)))
        return model


def load_model(job: str, *, store: str | Path = STORE, registry: Registry | None = None) -> Trained:
    """The model of a train job, on the CPU, from its id or an unambiguous beginning of it.

    Raises:
        StoreError: the store has no such job, or its file is damaged.
    """
    from robuststack.attacks.frozen_eval import eval_mode
    from robuststack.engine import models

    storage = Store(store, create=False)
    full = storage.find(job)
    result = storage.result(full)
    spec = parse_spec(result)
    if not isinstance(spec, TrainSpec):
        scored = isinstance(spec, BlocksSpec) and spec.foreign is None
        hint = f", such as {spec.model}, whose model it scores" if scored else ""
        raise RobustStackError(f"{full} is a job of kind {result['kind']}; name a train job{hint}")
    registry = registry or Registry()
    defense, model = models.finished(storage, registry, full, spec.model, data_folder(), seed=spec.seed)
    dataset = component(registry, "dataset", spec.model.dataset)
    eval_mode(model)
    return Trained(full, result["label"], defense, dataset, model, spec)


@overload
def compare(
    first: Row, second: Row, /, *, protocol: str | None = None, attack: str | None = None, reading: str = "expected",
    labels: Mapping[str, Labels] | None = None, store: str | Path = STORE,
) -> RowComparison: ...  # fmt: skip


@overload
def compare(
    board: Board | Result | str | Path, first: Row | str, second: Row | str, /, *, protocol: str | None = None,
    attack: str | None = None, reading: str = "expected", labels: Mapping[str, Labels] | None = None,
    store: str | Path = STORE,
) -> RowComparison: ...  # fmt: skip


def compare(
    *given: Board | Result | Row | str | Path,
    protocol: str | None = None,
    attack: str | None = None,
    reading: str = "expected",
    labels: Mapping[str, Labels] | None = None,
    store: str | Path = STORE,
) -> RowComparison:
    """The first of two rows against the second: better, worse or undecided, with the difference, its interval and every
    seed's figure, as `robuststack leaderboard compare --rows` has it.

    `compare(board, "A", "B")` takes a leaderboard, as its file, from `load_board` or as the result of a run, and two rows
    of it: labels, or words that no other label has together. Both defenses' whole curves are compared too.
    `compare(row, row)` takes two rows of a run, whose labels are read from `store`. `labels` are used in place of
    either. `protocol` is that of the headline unless it is given; with an `attack` the question is that attack alone.
    `reading` is how judging draws are read: `expected`, `majority 5` or `any 10`.

    Raises:
        RobustStackError: the rows are of other images, threat models, protocols or attacks, or their labels are missing.
    """
    usage = "compare takes two rows, or a leaderboard and two of its rows"
    if len(given) not in (2, 3):
        raise RobustStackError(usage)
    *boards, first, second = given
    asked = Reading.parse(reading)
    if boards:
        labelled = _labelled(boards[0], labels)
        names = tuple(row.label if isinstance(row, Row) else str(row) for row in (first, second))
        pair = sources(labelled, labelled, (names[0], names[1]), asked)
    else:
        if not isinstance(first, Row) or not isinstance(second, Row):
            raise RobustStackError(usage)
        kept = board_labels.collect([first, second], Store(store, create=False)) if labels is None else labels
        reader = RowReader(kept, asked)
        pair = RowSource(first, [first], reader), RowSource(second, [second], reader)
    return compare_rows(*pair, protocol=protocol, attack=attack)


def _labelled(board: Board | Result | Row | str | Path, labels: Mapping[str, Labels] | None) -> LabelledRows:
    """The rows of a leaderboard, and the labels behind them: those given, or else its own."""
    if isinstance(board, Row):
        raise RobustStackError("compare takes a leaderboard before two of its rows, not a third row")
    if isinstance(board, Result):
        return board.rows, board.labels if labels is None else labels
    opened = board if isinstance(board, Board) else load_board(board)
    return opened.rows, load_labels(opened) if labels is None else labels
