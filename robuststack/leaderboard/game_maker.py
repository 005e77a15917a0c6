"""Games from job results: the matrix of labels, the attacked mixtures, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from robuststack.evidence.estimate import Estimate
from robuststack.evidence.game import ModelGame, worth
from robuststack.evidence.proportions import unseen
from robuststack.leaderboard.board_labels import round_labels
from robuststack.leaderboard.game import Crafting, Game, GameSetting, Worth
from robuststack.leaderboard.record import percent
from robuststack.plan.job import LABELS
from robuststack.plan.plan import GamePlan, Plan
from robuststack.plan.played import model_game
from robuststack.plan.specs import GameSpec, parse_spec
from robuststack.plugin.threat import Threat
from robuststack.running.pipeline import Outcome
from robuststack.running.store import Store


def make_games(plan: Plan, outcome: Outcome, store: Store) -> list[Game]:
    """The games whose jobs are all done, in the plan's order.

    Raises:
        StoreError: labels that are gone or damaged.
    """
    results = outcome.results
    return [_game(game, results, store) for game in plan.games if results.keys() >= set(game.jobs.values())]


def _game(plan: GamePlan, results: Mapping[str, dict[str, Any]], store: Store) -> Game:
    played = [results[job] for job in plan.jobs.values()]
    specs = [parse_spec(result) for result in played]
    models = [_played(result, spec, results, store) for result, spec in zip(played, specs, strict=True)]
    by_seed: dict[int, list[ModelGame]] = {}
    for (train, _), model in zip(plan.jobs, models, strict=True):
        by_seed.setdefault(train, []).append(model)
    spec = specs[0]
    assert isinstance(spec, GameSpec)
    n = len(models[0].truth)
    figures = worth(list(by_seed.values()))
    shares = np.mean([model.mixture() for model in models], axis=0)
    known = np.mean([model.known() for model in models], axis=0)
    clean = np.mean([model.clean for model in models], axis=0)
    return Game(
        variant=plan.variant,
        threat=Threat.model_validate(dict(plan.threat)),
        defense=plan.defense,
        shown=dict(plan.shown),
        settings=tuple(
            GameSetting(
                name=name,
                rows=plan.rows[place],
                clean=percent(clean[place]),
                known=percent(known[place]),
                share=round(float(shares[place]), 4),
            )
            for place, name in enumerate(plan.settings)
        ),
        craftings=_craftings(plan, spec, played, models),
        least_clean=spec.least_clean,
        hidden=_worth(figures.hidden, n),
        seen=_worth(figures.seen, n),
        hiding=_worth(figures.hiding, n, lowest=-100),
        one_for_all=_worth(figures.set_hidden, n),
        values=_values([result["values"] for result in played]),
        upper_bound=any(result["upper_bound"] for result in played),
        jobs={f"{train}/{attack}": job for (train, attack), job in plan.jobs.items()},
        cells={
            f"{train}/{attack}": _cells(result, played_spec)
            for (train, attack), result, played_spec in zip(plan.jobs, played, specs, strict=True)
        },
    )


def _played(result: Mapping[str, Any], spec: Any, results: Mapping[str, Any], store: Store) -> ModelGame:
    """The game of one model with the rows of all of its rounds."""
    from safetensors.numpy import load

    judged = {job: load(store.read(job, LABELS, results[job])) for job in spec.judged}
    game = model_game(spec, judged)
    kept = load(store.read(result["id"], LABELS, result))
    for number in range(1, len(result["rounds"]) + 1):
        game = game.with_row([kept[f"{number}/{place}"] for place in range(len(spec.settings))])
    return game


def _cells(result: Mapping[str, Any], spec: Any) -> tuple[tuple[str, ...], ...]:
    """The names of the labels of each way of crafting at each setting."""
    rounds = [
        tuple(round_labels(result["id"], number, place) for place in range(len(spec.settings)))
        for number in range(1, len(result["rounds"]) + 1)
    ]
    return (*(tuple(row.judged) for row in spec.rows), *rounds)


def _craftings(
    plan: GamePlan, spec: GameSpec, played: list[dict[str, Any]], models: list[ModelGame]
) -> tuple[Crafting, ...]:
    """The rows of the matrix. Models may have had different numbers of rounds: a round's row is over those that had it."""
    names = [(plan.attacks[row.attack], plan.settings[row.setting]) for row in spec.rows]
    for number in range(max(len(result["rounds"]) for result in played)):
        used = [result["rounds"][number]["attack"] for result in played if len(result["rounds"]) > number]
        attacks = " or ".join(dict.fromkeys(plan.attacks[attack] for attack in used))
        names.append((attacks, f"mixture, round {number + 1}"))
    means = [model.outcomes.mean(0) for model in models]
    return tuple(
        Crafting(
            attack=attack,
            against=against,
            accuracy=tuple(map(percent, np.mean([mean[place] for mean in means if len(mean) > place], axis=0))),
        )
        for place, (attack, against) in enumerate(names)
    )


def _values(values: list[list[float]]) -> tuple[float, ...]:
    """The worth after each number of rounds; a model that had fewer keeps its last."""
    most = max(map(len, values))
    return tuple(
        percent(float(np.mean([worths[min(place, len(worths) - 1)] for worths in values]))) for place in range(most)
    )


def _worth(estimate: Estimate, n: int, lowest: float = 0.0) -> Worth:
    """In percent. If no image differs from another, the interval is what n images cannot exclude."""
    if estimate.variance == 0:
        half = unseen(n)
        low, high = estimate.value - half, estimate.value + half
    else:
        low, high = estimate.interval()
    return Worth(
        value=percent(estimate.value),
        low=max(percent(low), lowest),
        high=min(percent(high), 100.0),
    )
