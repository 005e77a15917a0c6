"""What Python users call: run a suite, load a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robuststack import hardware
from robuststack.contracts import Defense
from robuststack.errors import RobustStackError
from robuststack.executors.local import LocalExecutor
from robuststack.leaderboard import files
from robuststack.leaderboard.rows import make_rows
from robuststack.leaderboard.tables import tables
from robuststack.options import InvalidOptions, parse
from robuststack.paths import LEADERBOARD, STORE, data_folder
from robuststack.pipeline import Outcome, run_plan
from robuststack.plan import Plan
from robuststack.planner import make_plan
from robuststack.registry import Registry
from robuststack.smoke import shrunk
from robuststack.store import Store
from robuststack.suite import Suite, load_suite

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Result", "Trained", "load_model", "load_suite", "run"]


@dataclass
class Result:
    """What a run gives back. `rows` are those of the leaderboard's JSON file, as dictionaries."""

    plan: Plan
    outcome: Outcome
    rows: list[dict[str, Any]]
    files: list[Path] = field(default_factory=list)

    @property
    def failed(self) -> dict[str, str]:
        """Label of each failed job -> why."""
        return {self.plan.by_id[job].label: str(error) for job, error in self.outcome.failed.items()}

    def table(self, style: str = "simple") -> str:
        """The leaderboard as text, in one of tabulate's formats."""
        board = files.make_board(self.plan, self.rows, complete=True)
        return "\n\n".join(f"{heading}\n\n{table}" for heading, table in tables(board, style))


def run(
    suite: str | Path | Suite,
    *,
    store: str | Path = STORE,
    leaderboard: str | Path = LEADERBOARD,
    device: str = "auto",
    overrides: Sequence[str] = (),
    only: str | None = None,
    smoke: bool = False,
    wait: float = 0.0,
    registry: Registry | None = None,
) -> Result:
    """Train, attack and measure what a suite declares, and write its leaderboard.

    Finished jobs are taken from `store`. `overrides` are `KEY=VALUE` strings, `only` a pattern of row labels; `smoke` runs
    the smallest suite that still goes through all of the code, on made-up images; `wait` is how many seconds to wait for
    jobs that another run holds. Where jobs fail, their rows are missing and the rest is written beside the full
    leaderboard, to `<suite>.partial.*`.

    Raises:
        RobustStackError: the suite, a plugin, the data or the store cannot be used.
    """
    registry = registry or Registry()
    loaded = suite if isinstance(suite, Suite) else load_suite(suite, overrides)
    if smoke:
        loaded = shrunk(loaded, registry)
    plan = make_plan(loaded, registry, hardware.resolve(device, loaded.precision))
    if only:
        plan = plan.only(only)
    folder = Path(leaderboard)
    files.claim(plan, folder)
    storage = Store(store)
    executor = LocalExecutor(registry, storage, data_folder(), plan.hardware)
    outcome = run_plan(plan, storage, executor, registry, wait=wait)
    rows = make_rows(plan, outcome, storage)
    registry.hooks.hook.rows_ready(rows=rows)
    written = files.write(plan, rows, folder) if rows else []
    return Result(plan, outcome, rows, written)


@dataclass
class Trained:
    """A model from the store. `at` gives it at an operating point."""

    job: str
    defense: Defense
    model: nn.Module

    def at(self, *, frozen: bool = False, **knobs: Any) -> nn.Module:
        """The model at an operating point, in eval mode: images [N, C, H, W] in [0, 1] -> logits [N, K].

        Knobs that are not named keep their defaults; `lambda` is written `lambda_`. Points share the weights. `frozen`
        gives an independent deterministic copy with one noise draw in its weights.

        Raises:
            RobustStackError: the defense has no such knob or point.
        """
        try:
            point = parse(type(self.defense).Knobs, knobs).resolved()
            self.defense.check_point(point)
        except (InvalidOptions, ValueError) as error:
            raise RobustStackError(f"{self.defense.name}: {error}") from None
        return self.defense.deploy(self.model, point, frozen=frozen)


def load_model(job: str, *, store: str | Path = STORE, registry: Registry | None = None) -> Trained:
    """The model of a train job, on the CPU, from its id or an unambiguous beginning of it.

    Raises:
        StoreError: the store has no such job, or its file is damaged.
    """
    from robuststack.engine import models

    storage = Store(store, create=False)
    full = storage.find(job)
    result = storage.result(full)
    if result["kind"] != "train":
        raise RobustStackError(f"{full} is a job of kind {result['kind']}; load_model takes a train job")
    defense, model = models.finished(storage, registry or Registry(), full, result["spec"], data_folder())
    return Trained(full, defense, model.eval())
