"""FRESH: is the figure the same on draws of the noise that nothing has seen?"""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.checks.check import Check, Results
from robuststack.evidence.checks.verdict import Verdict
from robuststack.evidence.decisions import drawn_again
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job

DRAWS = 20
"""Held-out draws."""


class Fresh(Check):
    name = "FRESH"
    question = "Is robust accuracy the same on noise draws that neither the attack nor the judging has seen?"

    def inapplicable(self, subject: Subject) -> str:
        return "" if subject.stochastic else "the point is deterministic"

    def jobs(self, subject: Subject) -> Sequence[Job]:
        return [*subject.all_own(), *self._held_out(subject)]

    def verdict(self, subject: Subject, results: Results) -> Verdict:
        """RA on the row's draws against RA on the others, with the variance of the draws alone: the images are the same."""
        jobs = self.jobs(subject)
        own, others = (list(map(results.labels, judged)) for judged in (subject.all_own(), self._held_out(subject)))
        figures = drawn_again(own, others, results.truth(jobs[0]))
        moved, allowed = 100 * figures.apart, 100 * figures.allowed
        text = (
            f"RA {100 * figures.first:.1f} % on the row's draws, {100 * figures.second:.1f} % on {DRAWS} others:"
            f" {moved:.1f} points apart, up to {allowed:.1f} are chance"
        )
        return self.says(
            "broken" if moved > allowed else "holds", text, jobs, figure=round(moved, 2), threshold=round(allowed, 2)
        )

    def _held_out(self, subject: Subject) -> list[Job]:
        return [subject.rejudged(label, DRAWS) for label in subject.judges]
