"""How long jobs will take, from the work that a plan counts and the speed of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from robuststack.plan.job import Job
from robuststack.plan.plan import Plan
from robuststack.plan.specs import AttackSpec, MeasureSpec, TrainSpec
from robuststack.plan.speed import Network, NetworkSpeed, networks
from robuststack.wording import duration

JOB_SECONDS = 0.1
"""Of any job, beside its passes: its model is loaded, its result is written."""
EPOCH_SECONDS = 0.03
"""Of an epoch of training, beside its passes: its checkpoint is written."""
EARLY_STOP = 0.6
"""The share of an attack's work that is left where it attacks no image further that it has fooled. Between a model that
withstands nothing and one that withstands everything it is 0.1 to 1."""


def expected_work(job: Job) -> float:
    """The work that a job is expected to be: early stopping leaves a part of an attack's, and a network that is timed is
    timed in turn with the undefended one."""
    if isinstance(job.spec, AttackSpec) and job.spec.early_stop:
        return EARLY_STOP * job.work
    return 2 * job.work if isinstance(job.spec, MeasureSpec) and job.spec.model.architecture else job.work


def job_seconds(job: Job, network: Network, speed: NetworkSpeed) -> float:
    """How long a job will take."""
    share = expected_work(job) / job.work if job.work else 1.0
    passes, attacked = (share * work / (network.shape[1] * network.shape[2]) for work in (job.work, job.attack_work))
    if isinstance(job.spec, TrainSpec):
        epochs = job.spec.recipe.epochs
        return JOB_SECONDS + EPOCH_SECONDS * epochs + attacked * speed.gradient + (passes - attacked) * speed.update
    # A query takes as long as half of a gradient: an attack folds the network for both.
    return JOB_SECONDS + attacked * speed.gradient + (passes - attacked) * speed.answer


def jobs_seconds(plan: Plan, speeds: Mapping[str, NetworkSpeed]) -> dict[str, float]:
    """Job -> how long it will take; jobs of networks whose speed is not known are left out."""
    of_job = networks(plan) if speeds else {}
    return {
        job.id: job_seconds(job, of_job[job.id], speeds[of_job[job.id].key])
        for job in plan.jobs
        if job.id in of_job and of_job[job.id].key in speeds
    }


def run_seconds(seconds: Iterable[tuple[Job, float]], workers: int) -> float:
    """How long a run of jobs that take so long will take, `workers` at a time: what is timed runs alone, and one training
    runs in one place."""
    timed = shared = longest = 0.0
    for job, taken in seconds:
        if job.kind == "measure":
            timed += taken
            continue
        shared += taken
        longest = max(longest, taken) if job.kind == "train" else longest
    return timed + max(shared / workers, longest)


def left_text(plan: Plan, left: Sequence[Job], seconds: Mapping[str, float]) -> str:
    """How long these jobs of a plan take, `about 12 min 3 s, 2 jobs at a time`; how much work they are, if it is not known
    of each of them."""
    if any(job.id not in seconds for job in left):
        return f"{sum(job.work for job in left):.3g} forward-pass pixels"
    workers = plan.hardware.workers
    together = f", {workers} jobs at a time" if workers > 1 else ""
    return f"about {duration(run_seconds(((job, seconds[job.id]) for job in left), workers))}{together}"
