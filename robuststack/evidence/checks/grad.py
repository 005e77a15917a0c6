"""GRAD: do the attack's gradients point anywhere?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robuststack.evidence.checks.check import Check, Results
from robuststack.evidence.checks.verdict import Verdict
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job

FAILING = 5.0
"""Percent of the gradients of images not yet fooled that may be zero or no numbers."""
COSINE = 0.1
"""The least median cosine of two independent EOT gradients."""
REVISION = 1


class Grad(Check):
    name = "GRAD"
    question = "Are the attack's gradients neither zero nor infinite, and, at a randomised point, not noise alone?"
    by_gradients = True

    def jobs(self, subject: Subject) -> Sequence[Job]:
        """The row's gradient attacks, of which the host counted the gradients, and a probe of the main one."""
        return [*self._attacks(subject).values(), self._probe(subject)]

    def verdict(self, subject: Subject, results: Results) -> Verdict:
        jobs, facts = self.jobs(subject), results.facts(self._probe(subject))
        label = subject.leading_gradient
        shares = {f"{label} at the first images": _failing(facts, facts["counted"])}
        for name, job in self._attacks(subject).items():
            seen = results.seen(job)
            # An attack of another library may take gradients that the host does not see.
            if "gradients_zero" in seen:
                shares[name] = seen["gradients_zero"] + seen["gradients_not_finite"]
        worst = max(shares, key=lambda name: shares[name])
        share = round(shares[worst], 2)
        told = f"{share:.1f} % of the gradients of {worst} are zero or no numbers, {FAILING:.0f} % are allowed"
        if share > FAILING:
            return self.says("broken", told, jobs, figure=share, threshold=FAILING)
        if facts["cosine"] is None:
            return self.says("holds", told, jobs, figure=share, threshold=FAILING)
        cosine = round(facts["cosine"], 3)
        also = f"two gradients over {facts['draws']} draws have a cosine of {cosine:.2f}, at least {COSINE:g} is asked"
        if cosine < COSINE:
            return self.says("broken", f"{also}: noise hides the gradient", jobs, figure=cosine, threshold=COSINE)
        return self.says("holds", f"{told}; {also}", jobs, figure=share, threshold=FAILING)

    def _attacks(self, subject: Subject) -> Mapping[str, Job]:
        return {label: subject.made(label) for label, attack in subject.attacks.items() if attack.needs_gradients}

    def _probe(self, subject: Subject) -> Job:
        label = subject.leading_gradient
        draws = subject.attacks[label].draws(subject.stochastic) if not subject.attacks[label].chooses_draws else 1
        # Two places, two gradients, a forward and a backward pass each.
        return subject.probe("gradients", REVISION, attack=label, passes=8.0 * draws)


def _failing(facts: Mapping[str, Any], counted: int) -> float:
    return 100 * (facts["zero"] + facts["not_finite"]) / counted if counted else 0.0
