"""BOX: do attacks stay in the ball and in [0, 1]?"""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.checks.check import Check, Results
from robuststack.evidence.checks.verdict import Verdict
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job
from robuststack.plugin.threat import Threat

OUTSIDE = 1e-6
"""How far a pixel may be outside, in the [0, 1] pixel range: rounding."""
OUTSIDE_L2 = 1e-5
"""How far an image may be outside an L2 ball, in radii: its norm is a sum of many squares."""


def rounding(threat: Threat) -> float:
    """How far outside of the ball or of [0, 1] an image may be."""
    return OUTSIDE if threat.norm == "linf" else OUTSIDE_L2 * threat.eps


class Box(Check):
    name = "BOX"
    question = "Do the attacks themselves return numbers in [0, 1] and in the ball, before the host clips them?"

    def jobs(self, subject: Subject) -> Sequence[Job]:
        """The row's own attack jobs: what the host saw of each stands in its result."""
        return [subject.made(label) for label in subject.judges]

    def verdict(self, subject: Subject, results: Results) -> Verdict:
        jobs, allowed = self.jobs(subject), rounding(subject.threat)
        seen = {label: results.seen(job) for label, job in zip(subject.judges, jobs, strict=True)}
        furthest = max(seen, key=lambda label: seen[label]["clipped"])
        outside = float(seen[furthest]["clipped"])
        lost = {label: int(checks["not_finite"]) for label, checks in seen.items() if checks["not_finite"]}
        faults = [f"{label} returned {count} pixels that are no numbers" for label, count in lost.items()]
        if outside > allowed:
            faults.append(f"{furthest} left the ball or [0, 1] by {outside:.3g}, {allowed:.3g} is rounding")
        text = "; ".join(faults) or f"no attack was outside by more than {outside:.3g}, {allowed:.3g} is rounding"
        return self.says("broken" if faults else "holds", text, jobs, figure=outside, threshold=allowed)
