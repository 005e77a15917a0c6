"""STOCHASTIC: does the model draw noise exactly if it says so?"""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.checks.check import Check, Results
from robuststack.evidence.checks.verdict import Verdict
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job

ROUNDING = 0.001
"""Percent of the largest logit: two passes that are closer are the same."""
PASSES = 10.0
"""Of the probe."""
REVISION = 1


class Stochastic(Check):
    name = "STOCHASTIC"
    question = "Do passes over the same images differ at a randomised point, and at no other?"

    def jobs(self, subject: Subject) -> Sequence[Job]:
        return [subject.probe("stochastic", REVISION, passes=PASSES)]

    def verdict(self, subject: Subject, results: Results) -> Verdict:
        jobs = self.jobs(subject)
        apart = [100 * distance for distance in results.facts(jobs[0])["apart"]]
        differing = sum(distance > ROUNDING for distance in apart)
        told = f"{differing} of {len(apart)} passes differ from the first, by up to {max(apart):.2g} % of the largest logit"
        declared = "randomised" if subject.stochastic else "deterministic"
        broken = subject.stochastic != (differing > 0)
        text = f"{told}; the point is declared {declared}"
        return self.says("broken" if broken else "holds", text, jobs, figure=round(max(apart), 6), threshold=ROUNDING)
