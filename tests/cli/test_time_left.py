"""The time left, replayed from what the jobs of real runs took."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from robuststack.cli.time_left import TimeLeft, Underway
from robuststack.hardware import Hardware
from robuststack.plan.job import Job
from robuststack.plan.plan import Plan
from robuststack.plan.planner import make_plan
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import load_suite

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).parent / "recorded"
"""Runs of suites on one core, a line a job in the order in which they were done: its seconds, its kind and its label."""


@cache
def recorded(suite: str) -> tuple[Plan, list[tuple[float, Job]]]:
    """The plan of a suite, and what those of its jobs took that were run: others had been done before."""
    plan = make_plan(load_suite(ROOT / "suites" / f"{suite}.yaml"), Registry(), Hardware("cpu", "float32", 1, 1))
    jobs = {f"{job.kind} {job.label}": job for job in plan.jobs}
    lines = (RECORDED / f"{Path(suite).name}.txt").read_text(encoding="utf-8").splitlines()
    runs = [(float(seconds), jobs[job]) for seconds, _, job in (line.partition(" ") for line in lines)]
    assert len(jobs) == len(plan.jobs)
    return plan, runs


def errors(left: TimeLeft, runs: list[tuple[float, Job]]) -> dict[float, float]:
    """After each job, by the share of the run that is over: the time left as it is said, over what it came to. The last
    twentieth is left out: a few seconds too much are a large factor there."""
    total = sum(seconds for seconds, _ in runs)
    over, factors = 0.0, {}
    for seconds, job in runs:
        left.finished(job, seconds)
        over += seconds
        said = left.seconds()
        assert said is not None
        if total - over > total / 20:
            factors[over / total] = said / (total - over)
    return factors


@pytest.mark.parametrize("suite", ["float_vs_oat", "cpu/attacks"])
def test_after_a_tenth_of_a_run_the_time_left_is_right_within_a_factor_of_one_and_a_half(suite):
    """On a machine whose speed was not measured. Most of the second run are AutoAttack-rand, APGD and Square."""
    plan, runs = recorded(suite)
    left = TimeLeft(plan, [job for _, job in runs], {}, workers=1)
    assert left.seconds() is None
    after = [factor for share, factor in errors(left, runs).items() if share >= 0.1]
    assert len(after) > len(runs) / 2
    assert max(after) < 1.5
    assert min(after) > 1 / 1.5


def test_a_measured_machine_is_believed_until_jobs_tell_otherwise():
    plan, runs = recorded("float_vs_oat")
    total = sum(seconds for seconds, _ in runs)
    left = TimeLeft(plan, plan.jobs, {job.id: 2 * seconds for seconds, job in runs}, workers=1)
    assert left.seconds() == pytest.approx(2 * total)
    after = [factor for share, factor in errors(left, runs).items() if share >= 0.1]
    assert max(after) < 1.5


def test_attacks_that_take_longer_than_was_thought_are_told_from_training():
    """As with AutoAttack on a robust model: its jobs took four times what early stopping let hope for."""
    plan, runs = recorded("float_vs_oat")
    slow = [(4 * seconds if job.kind == "attack" else seconds, job) for seconds, job in runs]
    left = TimeLeft(plan, plan.jobs, {job.id: seconds for seconds, job in runs}, workers=1)
    after = [factor for share, factor in errors(left, slow).items() if share >= 0.1]
    assert max(after) < 1.5
    assert min(after) > 1 / 1.5


def test_a_job_that_is_under_way_teaches_too():
    plan, runs = recorded("float_vs_oat")
    jobs = [job for _, job in runs if job.kind == "attack"]
    left = TimeLeft(plan, jobs, {job.id: 1.0 for job in jobs}, workers=1)
    begun = {jobs[0].id: Underway(seconds=10.0, share=0.5)}
    rest = left.seconds(begun)
    assert rest is not None
    assert rest > 2 * len(jobs), "half of a job took ten times what was thought"
    late = {jobs[0].id: Underway(seconds=100.0)}
    assert left.seconds(late) == pytest.approx(len(jobs) - 1 + 0.1), "overdue, and it does not say how far it is"


def test_a_failed_job_teaches_nothing_and_is_over():
    plan, runs = recorded("float_vs_oat")
    jobs = [job for _, job in runs][:3]
    left = TimeLeft(plan, jobs, {job.id: 1.0 for job in jobs}, workers=1)
    left.finished(jobs[0], None)
    assert left.seconds() == pytest.approx(2.0)
    assert TimeLeft(plan, [], {}, workers=1).seconds() == 0


def test_several_workers_share_the_rest_and_time_alone():
    plan, _ = recorded("float_vs_oat")
    trained, attacked = ([job for job in plan.jobs if job.kind == kind] for kind in ("train", "attack"))
    timed = [job for job in plan.jobs if job.kind == "measure"]

    def rest(jobs: list[Job], workers: int) -> float | None:
        return TimeLeft(plan, jobs, {job.id: 1.0 for job in jobs}, workers).seconds()

    assert rest(attacked, 4) == pytest.approx(len(attacked) / 4)
    assert rest(timed, 4) == pytest.approx(len(timed)), "what is timed is alone on its machine"
    assert rest(trained[:1], 4) == 1.0, "one training runs in one place"
    assert rest([replace(attacked[0])], 4) == pytest.approx(0.25)
