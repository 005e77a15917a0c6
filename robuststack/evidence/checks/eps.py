"""EPS: does robust accuracy fall as the ball grows, down to nothing?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from robuststack.evidence.checks.check import Results
from robuststack.evidence.checks.pairs import Pair, PairCheck
from robuststack.evidence.checks.verdict import Verdict
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job

TIMES = (0.5, 1.0, 2.0, 4.0)
"""Radii, in those of the row."""
HALF = 0.5
"""The last radius in pixels: any image can be made gray. In L2 it is this times the root of the number of pixels."""
STEPS, RESTARTS = 20, 5
LEFT = 5.0
"""RA in percent that may be left at the largest radius; at randomised points it is chance level."""


class Eps(PairCheck):
    name = "EPS"
    question = (
        "Does robust accuracy never rise with the radius, and fall to nothing at a radius that can undo any image?"
    )
    by_gradients = True
    fires_as = "broken"
    fall_means = "a smaller radius finds more"
    holds_means = "RA does not rise with the radius"

    def inapplicable(self, subject: Subject) -> str:
        return subject.misfit(subject.attack("pgd"))

    def jobs(self, subject: Subject) -> Sequence[Job]:
        return [*super().jobs(subject), subject.judged_clean()]

    def pairs(self, subject: Subject) -> Sequence[Pair]:
        return [
            Pair(f"eps {smaller:g} against {larger:g}", (at_larger,), (at_smaller,))
            for (smaller, at_smaller), (larger, at_larger) in combinations(self._at_radii(subject), 2)
        ]

    def verdict(self, subject: Subject, results: Results) -> Verdict:
        clean = results.labels(subject.judged_clean())
        if (clean == clean.flat[0]).all():
            return self.says("none", "the model names the same class for every image", [subject.judged_clean()])
        rising = super().verdict(subject, results)
        if rising.verdict == "broken":
            return rising
        radius, job = self._at_radii(subject)[-1]
        allowed = 100 / subject.num_classes if subject.stochastic else LEFT
        ra, low = _lower_limit(results, job)
        told = f"at eps {radius:g} RA is {ra:.1f} %, at least {low:.1f}; {allowed:.0f} % may be left"
        jobs = self.jobs(subject)
        if low > allowed:
            return self.says("broken", f"{told}: gradients do not lead out", jobs, figure=low, threshold=allowed)
        return rising.model_copy(
            update={
                "text": f"{rising.text}; {told}",
                "jobs": tuple(dict.fromkeys([*rising.jobs, *(job.id for job in jobs)])),
            }
        )

    def _at_radii(self, subject: Subject) -> list[tuple[float, Job]]:
        """The radii in order, and the images that PGD makes there."""
        threat = subject.threat
        attack = subject.attack("pgd", steps=STEPS, step="relative", restarts=RESTARTS, **subject.draws)
        pixels = math.prod(subject.jobs.dataset(subject.clean).shape)
        whole = HALF if threat.norm == "linf" else HALF * math.sqrt(pixels)
        radii = sorted({*(times * threat.eps for times in TIMES), whole})
        if threat.norm == "linf":
            radii = sorted({min(radius, 1.0) for radius in radii})
        return [(radius, subject.crafted(attack, threat=threat.model_copy(update={"eps": radius}))) for radius in radii]


def _lower_limit(results: Results, job: Job) -> tuple[float, float]:
    """RA and its one-sided lower limit, in percent."""
    from robuststack.evidence.limits import lower_limit

    labels, truth = results.labels(job), results.truth(job)
    return 100 * float((labels == truth).mean()), round(100 * lower_limit(labels, truth), 2)
