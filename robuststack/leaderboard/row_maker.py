"""Rows from job results: what a plan says of an operating point, and what its jobs found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from pydantic import ValidationError

from robuststack.errors import LeaderboardError
from robuststack.evidence.overfitting import keeps_overfitted
from robuststack.evidence.readings import EXPECTED, Reading
from robuststack.leaderboard.board_labels import Labels, labels_hash, read_labels
from robuststack.leaderboard.chosen_draws import draws_chosen, draws_text
from robuststack.leaderboard.figures import Jobs, LabelsOf, figures, read_scores
from robuststack.leaderboard.ladder import ladder_gaps
from robuststack.leaderboard.provenance import RowJobs, RowSeeds
from robuststack.leaderboard.row import CLEAN, DrawsChoice, Figure, Latency, ReadScores, Row, Scores
from robuststack.leaderboard.row_labels import run_text
from robuststack.leaderboard.row_predictions import predictions
from robuststack.leaderboard.row_variance import variance
from robuststack.plan.plan import HEADLINE, Plan, RowPlan, Score
from robuststack.plugin.options import first_problem
from robuststack.running.pipeline import Outcome
from robuststack.running.store import Store


def make_rows(plan: Plan, outcome: Outcome, store: Store) -> list[Row]:
    """One row for each operating point whose jobs are all done, in the plan's order.

    Raises:
        LeaderboardError: a plugin or a job gave what no row can hold, such as a number that is not finite.
    """
    done = [row for row in plan.rows if row.jobs() <= set(outcome.results)]
    readings = [reading for reading in plan.suite.evaluate.parsed_readings if reading != EXPECTED]
    return [_row(row, outcome.results, store, readings) for row in done]


def _row(row: RowPlan, results: Mapping[str, dict[str, Any]], store: Store, readings: Sequence[Reading]) -> Row:
    measured = results[row.measure]
    latency = {
        int(batch): Latency.model_validate({key: round(value, 4) for key, value in timed.items()})
        for batch, timed in measured["latency_ms"].items()
    }

    @cache
    def labels(job: str) -> Labels:
        return read_labels(store, job, results[job])

    jobs = {
        name: {CLEAN: _ids(row.clean[name]), **{label: _ids(score) for label, score in row.robust[name].items()}}
        for name in row.clean
    }
    scores = {
        name: _scores(
            jobs[name],
            row.attacks[name],
            draws_chosen(jobs[name], row.images, results),
            labels,
            {
                str(reading): read_scores(jobs[name], labels, reading, macs=measured["macs"], latency_ms=latency)
                for reading in readings
            },
        )
        for name in jobs
    }
    protocol = HEADLINE if HEADLINE in scores else next(iter(scores))
    headline = scores.pop(protocol)
    clean = row.clean[protocol]
    first = results[next(iter(clean.jobs.values()))]
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
        "draws_chosen": headline.draws_chosen,
        "readings": headline.readings,
        "protocols": scores,
        "gaps": ladder_gaps(jobs, labels),
        "shift": _shift(row, labels),
        "n": first["n"],
        "draws": first["spec"]["draws"],
        "seeds": RowSeeds(
            train=tuple(sorted({train for train, *_ in clean.jobs})),
            attack=tuple(sorted({attack for _, attack, *_ in clean.jobs})),
        ),
        "parameters": measured["parameters"],
        "nonzero_parameters": measured["nonzero_parameters"],
        "macs": measured["macs"],
        "latency_ms": latency,
        "train_seconds_per_epoch": round(float(np.mean(epoch_seconds)), 4) if epoch_seconds else None,
        "effort": _effort(models, row, protocol, results),
        "inspected": _inspected([model["inspected"] for model in models]),
        "overfitting": _overfitting(row, results),
        "layers": models[0].get("layers", {}) if models else {},
        "checks": _checks(checks),
        "predictions": predictions(jobs[protocol], labels),
        "variance": variance(jobs[protocol], labels),
        "versions": _together([results[job]["versions"] for job in row.jobs()]),
        "machine": _together([results[job]["machine"] for job in row.jobs()]),
        "jobs": RowJobs(
            train=dict(row.train),
            measure=row.measure,
            attacks=dict(row.images),
            scores=jobs,
            shift={label: _ids(score) for label, score in row.shift.items()},
        ),
        "extra": {},
    }
    try:
        # Plans and results hold JSON data: lists stand for tuples, and keys of mappings are strings.
        made = Row.model_validate(content, strict=False)
    except ValidationError as error:
        raise LeaderboardError(f"{row.label}: {first_problem(Row, error, content)}") from None
    predicted = labels_hash(results[job] for job in made.audited_jobs)
    return made.model_copy(update={"jobs": made.jobs.model_copy(update={"labels": predicted})})


def _scores(
    jobs: Jobs,
    attacks: Mapping[str, Mapping[str, Any]],
    chosen: Mapping[str, Mapping[str, DrawsChoice]],
    labels: LabelsOf,
    readings: dict[str, ReadScores],
) -> Scores:
    """A row by one protocol; `attacks` are the options of each, resolved, and `chosen` the draws that a run chose."""
    robust = figures(jobs, labels)
    clean = robust.pop(CLEAN)
    options = {
        label: {**of_attack, **({"draws": draws_text(chosen[label].values())} if label in chosen else {})}
        for label, of_attack in attacks.items()
    }
    return Scores(
        ca=clean,
        ra=robust,
        attacks=options,
        draws_chosen={label: dict(choices) for label, choices in chosen.items()},
        readings=readings,
    )


def _checks(checks: list[dict[str, Any]]) -> dict[str, Any]:
    """The worst of what the host saw in the row's attacks: pixels it had to clip or replace, gradients that failed."""
    return {
        "clipped": max((check["clipped"] for check in checks), default=0.0),
        "not_finite": sum(check["not_finite"] for check in checks),
        "state_kept": all(check["state_kept"] for check in checks),
        "gradients_zero": round(max((check.get("gradients_zero", 0.0) for check in checks), default=0.0), 4),
        "gradients_not_finite": round(
            max((check.get("gradients_not_finite", 0.0) for check in checks), default=0.0), 4
        ),
        "attacked_again": sum(check["again"] for check in checks),
    }


def _effort(
    trained: list[dict[str, Any]], row: RowPlan, protocol: str, results: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """What was really done: epochs and optimiser steps of each training seed, each attack's calls of the model, and the
    noise draws that came from the table of normal quantiles."""
    attacks = [results[job]["checks"] for job in dict.fromkeys(row.images.values())]
    return {
        "epochs": [len(model["history"]) for model in trained],
        "steps": [int(sum(epoch["steps"] for epoch in model["history"])) for model in trained],
        "calls": {
            name: sum(int(results[row.images[job]]["checks"]["calls"]) for job in score.jobs.values())
            for name, score in row.robust[protocol].items()
        },
        "table_draws": int(
            sum(epoch["table_draws"] for model in trained for epoch in model["history"])
            + sum(attack["table_draws"] for attack in attacks)
        ),
        "retries": sum(results[job].get("retries", 0) for job in row.jobs()),
    }


def _shift(row: RowPlan, labels: LabelsOf) -> dict[str, Figure]:
    """Accuracy by natural shift."""
    if not row.shift:
        return {}
    clean = _ids(row.clean[HEADLINE if HEADLINE in row.clean else next(iter(row.clean))])
    accuracies = figures({CLEAN: clean, **{label: _ids(score) for label, score in row.shift.items()}}, labels)
    return {label: accuracies[label] for label in row.shift}


def _overfitting(row: RowPlan, results: Mapping[str, dict[str, Any]]) -> dict[int, dict[str, float]]:
    """Training seed -> its catastrophic overfitting, if the weights that it kept are of that epoch or a later one."""
    trained = {seed: results[job] for seed, job in row.train.items() if "overfitting" in results.get(job, {})}
    return {
        seed: result["overfitting"]
        for seed, result in trained.items()
        if keeps_overfitted(
            result["overfitting"]["epoch"], [(phase["epochs"], phase["kept_epoch"]) for phase in result["phases"]]
        )
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
    return {run_text(run): job for run, job in score.jobs.items()}
