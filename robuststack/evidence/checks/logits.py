"""LOGITS: does the model return logits, as the attacks' losses need them?"""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.checks.check import Check, Results
from robuststack.evidence.checks.verdict import Verdict
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job

PROBABILITIES = 99.0
"""Percent of the images whose rows may not all be probabilities."""
REVISION = 1


class Logits(Check):
    name = "LOGITS"
    question = "Does the model return logits, for as many classes as the attacks need, and no probabilities?"

    def jobs(self, subject: Subject) -> Sequence[Job]:
        return [subject.probe("logits", REVISION)]

    def verdict(self, subject: Subject, results: Results) -> Verdict:
        jobs = self.jobs(subject)
        facts = results.facts(jobs[0])
        few = [label for label, attack in subject.attacks.items() if facts["classes"] < attack.min_classes]
        share = round(100 * facts["probabilities"], 2)
        if few:
            text = f"rows have {facts['classes']} entries, fewer than {few[0]} needs"
            return self.says("broken", text, jobs, figure=share, threshold=PROBABILITIES)
        told = f"{share:.1f} % of the rows are non-negative and sum to 1"
        if share >= PROBABILITIES:
            text = f"{told}: these are probabilities, whose loss has hardly a gradient where the model is sure"
            return self.says("broken", text, jobs, figure=share, threshold=PROBABILITIES)
        return self.says(
            "holds", f"{told}, fewer than {PROBABILITIES:.0f} %", jobs, figure=share, threshold=PROBABILITIES
        )
