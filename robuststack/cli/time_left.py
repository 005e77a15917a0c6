"""How long the rest of a run will take, from an estimate of each job and from what the jobs have taken so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robuststack.plan.estimate import expected_work, run_seconds
from robuststack.plan.job import Job
from robuststack.plan.plan import Plan
from robuststack.plan.specs import AttackSpec, BlocksSpec, DrawsSpec, ProbeSpec
from robuststack.plan.speed import networks

BELIEF = 0.03
"""What a group of jobs took counts as much as what was thought before, once it is this share of the whole run."""
BELIEF_SECONDS = 5.0
"""At least, if seconds are known: the first job of a process warms up."""
OVERDUE = 0.1
"""The least that is left of a job that says nothing of how far it is, as a share of what it was thought to take."""

Group = tuple[str, ...]


@dataclass(frozen=True)
class Underway:
    """A running job: seconds since its start, and the share of it that is done."""

    seconds: float
    share: float = 0.0


@dataclass
class _Seen:
    """What the jobs of a group were expected to take, and what they took."""

    expected: float = 0.0
    taken: float = 0.0


class TimeLeft:
    """Learns how long jobs take by kind, then by attack and noise, then by network. What is known of a small group starts
    from what is known of the larger one that it belongs to."""

    def __init__(self, plan: Plan, pending: Sequence[Job], seconds: Mapping[str, float], workers: int) -> None:
        """`seconds` are what each job is expected to take (`plan.estimate`). If some are missing, only the work of the jobs
        counts, and nothing is said before one of them is done."""
        self._left = {job.id: job for job in pending}
        self._workers = workers
        self._timed = all(job in seconds for job in self._left)
        self._expected = {job.id: seconds[job.id] if self._timed else expected_work(job) for job in pending}
        of_job = networks(plan)
        self._groups = {job.id: _groups(job, of_job[job.id].key if job.id in of_job else "") for job in pending}
        total = sum(self._expected.values())
        self._belief = max(BELIEF * total, BELIEF_SECONDS) if self._timed else BELIEF * total
        self._seen: dict[Group, _Seen] = {}

    def finished(self, job: Job, seconds: float | None) -> None:
        """A job is over. It took so long; None if it failed, and nothing is learned of it."""
        if self._left.pop(job.id, None) and seconds is not None:
            _learn(self._seen, self._groups[job.id], self._expected[job.id], seconds)

    def seconds(self, running: Mapping[str, Underway] | None = None) -> float | None:
        """How long the rest will take; None if nothing is known yet. `running` are the jobs that have begun, by id."""
        begun = {job: state for job, state in (running or {}).items() if job in self._left}
        seen = {group: _Seen(past.expected, past.taken) for group, past in self._seen.items()}
        for job, state in begun.items():
            if state.share:
                _learn(seen, self._groups[job], state.share * self._expected[job], state.seconds)
        if not self._timed and not seen:
            return None
        return run_seconds(
            ((job, self._rest(job, begun.get(job.id), seen)) for job in self._left.values()), self._workers
        )

    def _rest(self, job: Job, state: Underway | None, seen: Mapping[Group, _Seen]) -> float:
        whole = self._expected[job.id] * self._factor(job, seen)
        if state is None:
            return whole
        return whole * (1 - state.share) if state.share else max(whole - state.seconds, OVERDUE * whole)

    def _factor(self, job: Job, seen: Mapping[Group, _Seen]) -> float:
        """What a job takes, over what it is expected to take."""
        factor, weight = 1.0, self._belief if self._timed else 0.0
        for group in self._groups[job.id]:
            if past := seen.get(group):
                factor = (past.taken + weight * factor) / ((past.expected + weight) or 1.0)
            weight = self._belief
        return factor


def _learn(seen: dict[Group, _Seen], groups: Sequence[Group], expected: float, taken: float) -> None:
    for group in groups:
        past = seen.setdefault(group, _Seen())
        past.expected += expected
        past.taken += taken


def _groups(job: Job, network: str) -> list[Group]:
    """The groups that a job belongs to, from all jobs to those most like it."""
    spec = job.spec
    attack = spec.attack.name if isinstance(spec, AttackSpec | DrawsSpec | ProbeSpec) and spec.attack else ""
    noise = "noise" if isinstance(spec, BlocksSpec) and spec.draws_noise else ""
    return [(), (job.kind,), (job.kind, attack, noise), (job.kind, attack, noise, network)]
