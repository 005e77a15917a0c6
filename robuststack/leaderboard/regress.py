"""Whether a leaderboard that was run again still says what the committed one says.

What does not depend on the machine must be equal. On the same processor and software every figure and outcome must be, too.
Elsewhere rounding may turn single images: McNemar's exact test, at a family-wise level, tells that from a real change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robuststack.errors import LeaderboardError
from robuststack.evidence.proportions import mcnemar
from robuststack.hardware import Hardware
from robuststack.leaderboard.board import Board
from robuststack.leaderboard.game import Game
from robuststack.leaderboard.row import Row

Outcomes = Mapping[str, np.ndarray]
"""Judge job -> which predictions are right, bool [draws, n]."""
FAMILY_LEVEL = 0.001
"""Probability that any of all tests of a comparison calls equal models different."""
FLIPS = 1.0, 3.0
"""How many points more than this many times the smaller one the larger of two label-flip rates may be. Training on another
processor ends at other weights: the same suite gave rates of 0.44 to 1.62 times those of the first machine."""
SLOWER = 3.0
"""Training and latency, each relative to the undefended network of the same run, may grow by this factor: what else a
shared machine does while one of the two is timed can double a ratio."""
EXACT = (
    "options", "point", "threat", "recipe", "dataset_options", "split", "architecture_options", "attacks", "n", "draws",
    "stochastic", "parameters", "nonzero_parameters", "macs", "effort",
)  # fmt: skip


@dataclass(frozen=True)
class Regression:
    """One thing of one row that is not as it was."""

    label: str
    what: str
    old: str
    new: str


def regressions(old: Board, new: Board, old_outcomes: Outcomes, new_outcomes: Outcomes) -> list[Regression]:
    """Everything in which the new leaderboard falls outside of what the old one allows.

    Raises:
        LeaderboardError: the baseline is of another suite, or has no per-sample outcomes.
    """
    if old.suite != new.suite:
        raise LeaderboardError(f"the baseline is of suite {old.suite!r}, not {new.suite!r}")
    before, after = old.by_label, new.by_label
    changed = [Regression(label, "row", "there", "missing") for label in before if label not in after]
    changed += [Regression(label, "row", "missing", "there") for label in after if label not in before]
    both = [(before[label], after[label]) for label in before if label in after]
    tests = sum(len(_judged(row)) for row, _ in both)
    for first, second in both:
        here = same_platform(first, second)
        changed += [
            Regression(first.label, key, _short(was), _short(now))
            for key in EXACT
            if (was := _exact(first, key, here)) != (now := _exact(second, key, here))
        ]
        changed += _protocols(first, second)
        changed += _figures(first, second, old_outcomes, new_outcomes, tests)
        changed += _times(first, second, old.rows, new.rows)
    changed += _games(old, new, exact=all(same_platform(first, second) for first, second in both))
    return changed


def _exact(row: Row, key: str, here: bool) -> Any:
    """What has to be equal wherever a row is computed. How often an attack calls the model is so only `here`, on the same
    platform: it ends where rounding lets the last image break."""
    return row.effort.model_copy(update={"calls": {}}) if key == "effort" and not here else getattr(row, key)


def _protocols(first: Row, second: Row) -> Iterator[Regression]:
    """What the attacks of the other protocols were."""
    for name, scores in first.protocols.items():
        other = second.protocols.get(name)
        if other is None or other.attacks != scores.attacks:
            yield Regression(first.label, f"attacks ({name})", _short(scores.attacks), _short(other and other.attacks))


def refuse_unusable(old: Board, kept: Outcomes, suite: str, hardware: Hardware) -> None:
    """Refuse, before any compute, a baseline that a run of `suite` on `hardware` cannot be held against.

    Raises:
        LeaderboardError: it is of another suite, device or precision, or has no per-sample outcomes.
    """
    if old.suite != suite:
        raise LeaderboardError(f"the baseline is of suite {old.suite!r}, not {suite!r}")
    made, now = (old.device, old.precision), (hardware.kind, hardware.precision)
    if made != now:
        raise LeaderboardError(
            f"the baseline was made on {made[0]} in {made[1]}, this run is on {now[0]} in {now[1]}; pin device and"
            " precision in the suite, or accept this one with --update"
        )
    for row in old.rows:
        for (figure, _), job in _judged(row).items():
            if job not in kept:
                raise _no_outcomes(row, figure, "the baseline")


def same_platform(first: Row, second: Row) -> bool:
    """Whether both rows were computed by the same software on the same kind of processor, with as many threads."""
    old, new = (
        (row.machine.device, row.machine.threads, row.versions.torch, row.versions.numpy) for row in (first, second)
    )
    return old == new


def _judged(row: Row) -> dict[tuple[str, str], str]:
    """(figure, seeds) -> the judge job behind it, by every protocol that the row was scored by."""
    return {
        (row.figure_name(name, None if protocol == row.protocol else protocol), seeds): job
        for protocol in row.scores
        for name, jobs in row.judge_jobs(protocol).items()
        for seeds, job in jobs.items()
    }


def _no_outcomes(row: Row, figure: str, whose: str) -> LeaderboardError:
    return LeaderboardError(f"{row.label}: {whose} has no per-sample outcomes of {figure}")


def _figures(first: Row, second: Row, old: Outcomes, new: Outcomes, tests: int) -> Iterator[Regression]:
    exact = same_platform(first, second)
    before, after = _judged(first), _judged(second)
    for (figure, seeds), job in before.items():
        where = first.label, f"{figure} (seeds {seeds})"
        other = after.get((figure, seeds))
        if job not in old:
            raise _no_outcomes(first, figure, "the baseline")
        if other is None:
            yield Regression(*where, "there", "missing")
            continue
        if other not in new:
            raise _no_outcomes(second, figure, "the new leaderboard")
        a, b = old[job], new[other]
        if a.shape != b.shape:
            yield Regression(first.label, f"{figure}, outcomes", str(a.shape), str(b.shape))
            continue
        if exact:
            turned = int((a != b).sum())
            if turned:
                yield Regression(*where, _percent(a), f"{_percent(b)}, {turned} outcomes differ on this machine")
            continue
        p = mcnemar(_majority(a), _majority(b))
        if p < FAMILY_LEVEL / tests:
            yield Regression(*where, _percent(a), f"{_percent(b)} (McNemar p = {p:.1g})")
        flips = flip_rate(a), flip_rate(b)
        if max(flips) > FLIPS[0] + FLIPS[1] * min(flips):
            yield Regression(first.label, f"{figure}, label flips %", f"{flips[0]:.2f}", f"{flips[1]:.2f}")
    for figure, seeds in sorted(after.keys() - before.keys()):
        yield Regression(first.label, f"{figure} (seeds {seeds})", "missing", "there")


def _games(old: Board, new: Board, *, exact: bool) -> Iterator[Regression]:
    """Games that came, went, or are worth something else; elsewhere than on the same platform, what their intervals of 95 %
    cannot both hold."""
    before, after = ({(game.heading, game.title): game for game in board.games} for board in (old, new))
    for heading, title in sorted(before.keys() | after.keys()):
        first, second = before.get((heading, title)), after.get((heading, title))
        where = f"{heading}, {title}", "game"
        if first is None or second is None:
            yield Regression(*where, *("there" if game else "missing" for game in (first, second)))
            continue
        if exact:
            if _worth(first) != _worth(second):
                yield Regression(*where, *(f"hidden {game.hidden.text}" for game in (first, second)))
            continue
        for what in ("hidden", "seen", "one_for_all"):
            was, now = getattr(first, what), getattr(second, what)
            if was.high < now.low or now.high < was.low:
                yield Regression(where[0], f"game, {what}", was.text, now.text)


def _worth(game: Game) -> Game:
    """A game without the names of its jobs."""
    return game.model_copy(update={"jobs": {}, "cells": {}})


def _majority(outcomes: np.ndarray) -> np.ndarray:
    return np.asarray(outcomes.mean(0) >= 0.5)


def flip_rate(outcomes: np.ndarray) -> float:
    """How often two noise draws disagree on an image, in percent: outcomes bool [draws, n]; 0 for one draw."""
    draws = len(outcomes)
    if draws < 2:
        return 0.0
    share = outcomes.mean(0)
    return 100 * float((2 * share * (1 - share)).mean() * draws / (draws - 1))


def _times(first: Row, second: Row, old_rows: Sequence[Row], new_rows: Sequence[Row]) -> Iterator[Regression]:
    for what, relative in (("training time", _training_time), ("latency", _latency)):
        before, after = relative(first, old_rows), relative(second, new_rows)
        if before and after and after > SLOWER * before:
            yield Regression(first.label, f"{what}, times the undefended network's", f"{before:.2f}", f"{after:.2f}")


def _undefended(row: Row, rows: Sequence[Row]) -> Row | None:
    """The plain network of a row's table."""
    return next((other for other in rows if other.undefended and other.variant == row.variant), None)


def _training_time(row: Row, rows: Sequence[Row]) -> float | None:
    """An epoch's time by that of the undefended network; None if one of them was not measured."""
    plain = _undefended(row, rows)
    if plain is None or not plain.train_seconds_per_epoch or not row.train_seconds_per_epoch:
        return None
    return row.train_seconds_per_epoch / plain.train_seconds_per_epoch


def _latency(row: Row, rows: Sequence[Row]) -> float | None:
    """Latency at the largest batch by that of the undefended network; None if none was measured of both."""
    plain = _undefended(row, rows)
    measured = row.latency_ms.keys() & (plain.latency_ms.keys() if plain else ())
    if plain is None or not measured:
        return None
    batch = max(measured)
    # Measured in turn with the undefended network, if the row knows it.
    return row.latency_ms[batch].relative or row.latency_ms[batch].median / plain.latency_ms[batch].median


def _percent(outcomes: np.ndarray) -> str:
    return f"{100 * outcomes.mean():.2f} %"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
