"""FRESH: is the figure the same on draws of the noise that nothing has seen?"""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.checks.check import Check, Results
from robuststack.evidence.checks.verdict import Verdict
from robuststack.evidence.decisions import FALL
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job

DRAWS = 20
"""Held-out draws."""
LEVEL = 0.999
"""Of the interval: a campaign of a hundred honest rows should find none broken."""


class Fresh(Check):
    name = "FRESH"
    question = "Is robust accuracy the same on noise draws that neither the attack nor the judging has seen?"

    def inapplicable(self, subject: Subject) -> str:
        return "" if subject.stochastic else "the point is deterministic"

    def jobs(self, subject: Subject) -> Sequence[Job]:
        return [*subject.all_own(), *self._held_out(subject)]

    def verdict(self, subject: Subject, results: Results) -> Verdict:
        """RA on the row's draws against RA on the others, with the variance of the draws alone: the images are the same."""
        from robuststack.evidence.readings import EXPECTED, worst_over_attacks, worst_without_each_draw
        from robuststack.evidence.variance import Estimate, jackknife

        jobs = self.jobs(subject)
        truth = results.truth(jobs[0])
        figures, parts = [], []
        for judged in (subject.all_own(), self._held_out(subject)):
            labels = [results.labels(job) for job in judged]
            figures.append(float(worst_over_attacks(EXPECTED, labels, truth).mean()))
            parts.append(jackknife(worst_without_each_draw(EXPECTED, labels, truth).mean(1)))
        difference = Estimate(abs(figures[1] - figures[0]), tuple(parts))
        # One point is left for attacks that change places when the worst is chosen on other draws.
        allowed = 100 * max(difference.quantile((1 + LEVEL) / 2), FALL)
        moved = 100 * difference.value
        text = (
            f"RA {100 * figures[0]:.1f} % on the row's draws, {100 * figures[1]:.1f} % on {DRAWS} others: {moved:.1f}"
            f" points apart, up to {allowed:.1f} are chance"
        )
        return self.says(
            "broken" if moved > allowed else "holds", text, jobs, figure=round(moved, 2), threshold=round(allowed, 2)
        )

    def _held_out(self, subject: Subject) -> list[Job]:
        return [subject.rejudged(label, DRAWS) for label in subject.judges]
