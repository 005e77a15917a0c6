"""Run a suite, or attack and measure one finished model."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robuststack.api.arguments import EXECUTOR, FLAG, PLACE, REGISTRY, SECONDS, TEXT, TEXTS, WHOLE, checked, of_types
from robuststack.api.result import Result
from robuststack.errors import PluginError, RobustStackError
from robuststack.leaderboard import board_labels
from robuststack.leaderboard.board_file import claim, write_board
from robuststack.leaderboard.extra import check_extra
from robuststack.leaderboard.game_maker import make_games
from robuststack.leaderboard.row_maker import make_rows
from robuststack.leaderboard.training_curves import training_curves
from robuststack.paths import LEADERBOARD, STORE, absolute, data_folder
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.plugin.tracker import tracked
from robuststack.running.executors.places import Place, ThisMachine, Where, place
from robuststack.running.pipeline import run_plan
from robuststack.running.store import Store
from robuststack.suite.live_model import Points
from robuststack.suite.live_suite import live_suite
from robuststack.suite.loading import assignments, load_suite, suite_from
from robuststack.suite.mistakes import all_mistakes
from robuststack.suite.single_model import Attacks, single_suite
from robuststack.suite.smoke import shrunk
from robuststack.suite.suite import Suite
from robuststack.suite.user_model import user_modules

LOG = logging.getLogger(__name__)
"""Where notes on data and models go: to standard error, unless a program gives the logger `robuststack` another place."""


@checked(
    suite=of_types("a suite's file, a suite, or its keys as a dictionary", str, Path, Suite, Mapping),
    store=PLACE, leaderboard=PLACE.or_none(), overrides=TEXTS.or_none(), only=TEXT.or_none(), smoke=FLAG, wait=SECONDS,
    workers=WHOLE.or_none(), executor=EXECUTOR, track=PLACE.or_none(), registry=REGISTRY,
)  # fmt: skip
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
    executor: Where = "local",
    track: str | Path | None = None,
    registry: Registry | None = None,
) -> Result:
    """Train, attack and measure what a suite declares, and write its leaderboard.

    `suite` is a file, what `load_suite` made of one, or the same keys as a dictionary.

    Finished jobs are taken from `store`. `overrides` are `KEY=VALUE` strings, `only` a pattern of row labels; `smoke` runs
    the smallest suite that still goes through all of the code, on made-up images; `wait` is how many seconds to wait for
    jobs that another run holds; `device` is `auto`, a name such as `cuda:1`, the number of a CUDA device or a torch.device.
    `track` is the folder in which TensorBoard and other trackers write how it goes, or a tool with a place,
    `wandb:PROJECT`. If jobs fail, their rows are missing and the rest is written beside the full leaderboard, to
    `<suite>.partial.*`. Without a `leaderboard` folder nothing is written.

    `workers` is how many jobs run at a time: one in this process; several in processes of their own, which find plugins by
    their entry points (a script must guard its beginning by `if __name__ == "__main__"`); None for what the suite's
    `threads` leaves room for.

    `executor` is `ray` for a Ray cluster of this machine, started for this run, or `RayOptions(address=...)` for one that
    there is; its nodes then say how many jobs run at a time. It needs the extra `ray`.

    Raises:
        RobustStackError: the suite, a plugin, the data or the store cannot be used.
    """
    registry = registry or Registry()
    overrides = assignments(overrides)
    with all_mistakes(registry):
        if isinstance(suite, Mapping):
            loaded = suite_from(suite, overrides)
        else:
            loaded = suite if isinstance(suite, Suite) else load_suite(suite, overrides)
    if smoke:
        loaded = shrunk(loaded, registry)
    with place(executor) as where:
        plan = make_plan(loaded, registry, where.hardware(loaded, device, workers))
        with user_modules(), tracked(registry, track):
            return _run(plan.only(only) if only else plan, store, leaderboard, wait, registry, where)


@checked(
    data_options=of_types("a mapping, such as {'layout': 'nhwc'}", Mapping).or_none(), stochastic=FLAG, name=TEXT.or_none(),
    dataset=TEXT.or_none(), load=PLACE.or_none(), python=TEXT.or_none(), architecture=TEXT.or_none(),
    defense=TEXT.or_none(),
    store=PLACE, leaderboard=PLACE.or_none(), overrides=TEXTS.or_none(), wait=SECONDS, registry=REGISTRY,
)  # fmt: skip
def evaluate(
    model: object = None,
    *,
    data: Any = None,
    data_options: Mapping[str, Any] | None = None,
    dataset: str | None = None,
    load: str | Path | None = None,
    python: str | None = None,
    architecture: str | None = None,
    defense: str | None = None,
    attacks: Attacks = ("pgd",),
    points: Sequence[str] | Points | None = (),
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

    `model` is a torch.nn.Module, or a function: images float32 [N, C, H, W] in [0, 1] -> logits [N, K]. If a
    function gives no gradients, choose attacks that only call it, such as `square`. With `points`, such as
    `{"lambda_n": [0, 0.2, 1]}`, `model` is anything with a method `at`, which is called with the knobs of each point and
    returns the model there. The model is copied; the program's own stays as it is. `name` is what tables call it (default:
    its class). `stochastic` says that two forward passes differ.

    `data` are test images and labels: a pair of NumPy arrays or torch tensors (uint8, or floats in [0, 1]; [N, C, H, W], or
    [N, H, W] of one channel), a torch Dataset, DataLoader or anything else to iterate whose items are such pairs or batches
    of them, a mapping that names both (`x` and `y`, `image` and `label`), or the name of a registered dataset with its
    options, `digits`. `data_options` are options of that dataset, or of `npz`, which reads arrays: `{"layout": "nhwc"}`.
    Arrays are copied once into the store. A result is kept there and is used again while all that the model is made of,
    what it says of the images, and the images are the same.

    Without a `model` it is `load`, a file of weights of `architecture` under `defense`, or `python`, a
    `package.module:function` that returns it, or that of a `defense` which brings its own. Its `points` may also be texts,
    `lambda_n=0.2 lambda_th=0.5`; without any, the defense's own are scored. A file that `robuststack export` wrote
    names its defense and its architecture itself.

    Components are strings, a name with its options: `pgd steps=50`. Attacks may also be mappings as in a suite, and one
    alone needs no list. `eps` is the dataset's, `norm` is `linf`, `draws` and `limit` are the defaults of a suite, if
    they are not given; `overrides` set any other key of a suite. `device` is `auto`, a name such as `cuda:1`, the number of
    a CUDA device or a torch.device. The store is used as by `run`; a leaderboard is written only if a folder is named.

    Raises:
        RobustStackError: a model, a component or an option that cannot be used, in the words of `robuststack evaluate`.
    """
    registry = registry or Registry()
    overrides = assignments(overrides)
    if model is not None:
        given = {"load": load, "python": python, "architecture": architecture, "defense": defense, "dataset": dataset}
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
            f"evaluate: {taken[0]}= is for a model that is given itself, and the model is None: write evaluate(model,"
            " data=(images, labels)); other models take dataset="
        )
    if dataset is None:
        raise RobustStackError("evaluate: dataset= is missing, such as dataset='digits'")
    suite = single_suite(
        dataset=dataset, defense=defense, architecture=architecture, attacks=attacks,
        load=None if load is None else str(load), python=python, points=points, eps=eps, norm=norm,
        stochastic=stochastic, draws=draws, limit=limit, overrides=overrides, registry=registry,
    )  # fmt: skip
    (part,) = suite.defenses
    with contextlib.suppress(PluginError):  # The plan says what is wrong with it.
        if part.model is None and registry.create("defense", part.name, part.options).trains:
            reason = "has no model of its own; give it one with --load FILE or --python MODULE:FUNCTION"
            raise RobustStackError(f"--defense {defense or part.name}: {part.name!r} {reason}")
    return _score(suite, store, leaderboard, device, wait, registry)


def _score(
    suite: Suite, store: str | Path, leaderboard: str | Path | None, device: str, wait: float, registry: Registry
) -> Result:
    """One finished model, in this process."""
    plan = make_plan(suite, registry, suite.hardware(device, 1))
    with user_modules(), tracked(registry, None):
        return _run(plan, store, leaderboard, wait, registry, ThisMachine())


def _run(
    plan: Plan, store: str | Path, leaderboard: str | Path | None, wait: float, registry: Registry, where: Place
) -> Result:
    if leaderboard is not None:
        leaderboard = absolute(leaderboard)
        claim(plan, leaderboard)
    for note in plan.notes:
        LOG.warning(note)
    storage = Store(store)
    with where.executor(plan, registry, storage, data_folder()) as running:
        outcome = run_plan(plan, storage, running, registry, wait=wait)
    rows = make_rows(plan, outcome, storage)
    games = make_games(plan, outcome, storage)
    registry.hooks.hook.rows_ready(rows=rows)
    check_extra(rows)
    labels = board_labels.collect(rows, storage, outcome.results, games)
    written = []
    if rows and leaderboard is not None:
        curves = training_curves(plan, outcome)
        written = write_board(plan, rows, labels, leaderboard, curves, games)
    return Result(plan, outcome, rows, games, written, labels, registry, storage.root, leaderboard)
