"""Rows from job results: what a plan says of an operating point, and what its jobs found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from robuststack.errors import LeaderboardError
from robuststack.leaderboard.board_labels import read_labels
from robuststack.leaderboard.row import Figure, Row, RowJobs, RowSeeds, Scores
from robuststack.plan.plan import HEADLINE, Plan, RowPlan, Score
from robuststack.plugin.options import first_problem
from robuststack.running.pipeline import Outcome
from robuststack.running.store import Store
from robuststack.statistics import Estimate, accuracy


def make_rows(plan: Plan, outcome: Outcome, store: Store) -> list[Row]:
    """One row for each operating point whose jobs are all done, in the plan's order.

    Raises:
        LeaderboardError: a plugin or a job gave what no row can hold, such as a number that is not finite.
    """
    done = [row for row in plan.rows if row.jobs() <= set(outcome.results)]
    return [_row(row, outcome.results, store) for row in done]


def _row(row: RowPlan, results: Mapping[str, dict[str, Any]], store: Store) -> Row:
    scores = {
        name: Scores(
            **_protocol(row.clean[name], row.robust[name], results, store),
            attacks={label: dict(options) for label, options in row.attacks[name].items()},
        )
        for name in row.clean
    }
    protocol = HEADLINE if HEADLINE in scores else next(iter(scores))
    headline = scores.pop(protocol)
    clean = row.clean[protocol]
    first = results[next(iter(clean.jobs.values()))]
    measured = results[row.measure]
    models = [results[job] for job in row.train.values() if job in results]
    epoch_seconds = [model["seconds_per_epoch"] for model in models]
    checks = [results[job]["checks"] for job in dict.fromkeys(row.images.values())]
    content = {
        **row.facts,
        "label": row.label,
        "protocol": protocol,
        "ca": headline.ca,
        "ra": headline.ra,
        "attacks": headline.attacks,
        "protocols": scores,
        "n": first["n"],
        "draws": first["spec"]["draws"],
        "seeds": RowSeeds(
            train=tuple(sorted({train for train, _ in clean.jobs})),
            attack=tuple(sorted({attack for _, attack in clean.jobs})),
        ),
        "parameters": measured["parameters"],
        "nonzero_parameters": measured["nonzero_parameters"],
        "macs": measured["macs"],
        "latency_ms": {
            batch: {key: round(value, 4) for key, value in timed.items()}
            for batch, timed in measured["latency_ms"].items()
        },
        "train_seconds_per_epoch": round(float(np.mean(epoch_seconds)), 4) if epoch_seconds else None,
        "effort": _effort(models, row, protocol, results),
        "inspected": _inspected([model["inspected"] for model in models]),
        "layers": models[0].get("layers", {}) if models else {},
        "checks": _checks(checks),
        "versions": _together([results[job]["versions"] for job in row.jobs()]),
        "machine": _together([results[job]["machine"] for job in row.jobs()]),
        "jobs": RowJobs(
            train=dict(row.train),
            measure=row.measure,
            attacks=dict(row.images),
            scores={
                name: {"ca": _ids(row.clean[name]), **{label: _ids(score) for label, score in row.robust[name].items()}}
                for name in row.clean
            },
        ),
        "extra": {},
    }
    try:
        # Plans and results hold JSON data: lists stand for tuples, and keys of mappings are strings.
        return Row.model_validate(content, strict=False)
    except ValidationError as error:
        raise LeaderboardError(f"{row.label}: {first_problem(Row, error, content)}") from None


def _checks(checks: list[dict[str, Any]]) -> dict[str, Any]:
    """The worst of what the host saw in the row's attacks: pixels it had to clip or replace, gradients that failed."""
    return {
        "clipped": max((one["clipped"] for one in checks), default=0.0),
        "not_finite": sum(one["not_finite"] for one in checks),
        "state_kept": all(one["state_kept"] for one in checks),
        "gradients_zero": round(max((one.get("gradients_zero", 0.0) for one in checks), default=0.0), 4),
        "gradients_not_finite": round(max((one.get("gradients_not_finite", 0.0) for one in checks), default=0.0), 4),
    }


def _effort(
    trained: list[dict[str, Any]], row: RowPlan, protocol: str, results: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """What was really done: epochs and optimiser steps of each training seed, and each attack's calls of the model."""
    return {
        "epochs": [len(one["history"]) for one in trained],
        "steps": [int(sum(epoch["steps"] for epoch in one["history"])) for one in trained],
        "calls": {
            name: sum(int(results[row.images[job]]["checks"]["calls"]) for job in score.jobs.values())
            for name, score in row.robust[protocol].items()
        },
    }


def _inspected(models: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """What the defense shows of its trained models, as the mean over training seeds."""
    return {
        title: {layer: round(float(np.mean([model[title][layer] for model in models])), 6) for layer in values}
        for title, values in (models[0].items() if models else ())
    }


def _together(facts: list[dict[str, Any]]) -> dict[str, str]:
    """What the jobs of a row were computed with; where they differ, all of it."""
    return {key: " and ".join(sorted({str(job[key]) for job in facts})) for key in facts[0]}


def _ids(score: Score) -> dict[str, str]:
    return {f"{train}/{attack}": job for (train, attack), job in score.jobs.items()}


def _protocol(
    clean: Score, robust: Mapping[str, Score], results: Mapping[str, dict[str, Any]], store: Store
) -> dict[str, Any]:
    def load(job: str) -> np.ndarray:
        return load_outcomes(store, job, results[job])

    pairs = list(clean.jobs)
    outcomes = {label: {pair: load(one.jobs[pair]) for pair in pairs} for label, one in robust.items()}
    stochastic = any(one.stochastic for one in robust.values())
    # Clean accuracy of a deterministic model is one job, whatever the attack seeds: it counts once for each model.
    pair_of: dict[str, tuple[int, int]] = {}
    for pair, job in clean.jobs.items():
        pair_of.setdefault(job, pair)
    clean_runs = {pair: [load(job)] for job, pair in pair_of.items()}
    ra = {label: _figure({pair: [found[pair]] for pair in pairs}, stochastic) for label, found in outcomes.items()}
    ra["worst"] = _figure({pair: [found[pair] for found in outcomes.values()] for pair in pairs}, stochastic)
    return {"ca": _figure(clean_runs, clean.stochastic), "ra": ra}


def load_outcomes(store: Store, job: str, result: Mapping[str, Any] | None = None) -> np.ndarray:
    """Which predictions of a judge job are right, of the given result or else of the stored one: bool [draws, n].

    Raises:
        StoreError: they are not those of that result.
    """
    return read_labels(store, job, result).correct


def _figure(runs: Mapping[tuple[int, int], list[np.ndarray]], stochastic: bool) -> Figure:
    figure = rounded(accuracy(list(runs.values()), stochastic=stochastic))
    if len(runs) == 1:
        return figure
    single = {pair: accuracy([run], stochastic=stochastic).value for pair, run in runs.items()}
    seeds = {f"{train}/{attack}": round(value, 4) for (train, attack), value in single.items()}
    return figure.model_copy(update={"seeds": seeds, "spread": round(spread(single), 4)})


def spread(values: Mapping[tuple[int, int], float]) -> float:
    """The standard deviation over training seeds, each the mean of its attack seeds: pairs of one model are no models of
    their own. With a single training seed, over the attack seeds."""
    seeds = sorted({train for train, _ in values})
    means = [float(np.mean([value for (train, _), value in values.items() if train == seed])) for seed in seeds]
    return float(np.std(means if len(means) > 1 else list(values.values()), ddof=1))


def rounded(estimate: Estimate) -> Figure:
    """An accuracy as rows hold it."""
    value, low, high = (round(number, 4) for number in (estimate.value, estimate.low, estimate.high))
    return Figure(value=value, low=low, high=high, interval=estimate.method)
