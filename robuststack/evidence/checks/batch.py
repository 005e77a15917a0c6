"""BATCH: does what the model says of an image depend on that image alone?"""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.checks.check import Check, Results
from robuststack.evidence.checks.stochastic import ROUNDING
from robuststack.evidence.checks.verdict import Verdict
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job

PASSES = 3.0
"""Of the probe, at most, over all images of the check."""
REVISION = 1


class Batch(Check):
    name = "BATCH"
    question = "Is an image's label the same in batches of any size, and beside whatever other images?"

    def jobs(self, subject: Subject) -> Sequence[Job]:
        return [subject.probe("batch", REVISION, passes=PASSES)]

    def verdict(self, subject: Subject, results: Results) -> Verdict:
        jobs = self.jobs(subject)
        facts = results.facts(jobs[0])
        n, apart = facts["images"], f"logits are up to {100 * facts['largest']:.2g} % of the largest apart"
        faults = [
            f"{count} of {n} images get another label in batches of {size} than in one of {n}"
            for size, count in facts["sizes"].items()
            if count
        ]
        noisy = 100 * facts["repeat"] > ROUNDING
        if facts["neighbours"] and not noisy:
            faults.append(f"{facts['neighbours']} images get another label beside other images")
        figure = float(max([facts["neighbours"], *facts["sizes"].values()]))
        if faults and not (noisy and not subject.stochastic):
            return self.says("broken", f"{'; '.join(faults)}; {apart}", jobs, figure=figure, threshold=0.0)
        if noisy:
            text = "the same batch on the same noise gives other logits, so neighbours cannot be told from noise"
            return self.says("open", text, jobs)
        text = f"no label of {n} images depends on the batch; {apart}"
        return self.says("holds", text, jobs, figure=figure, threshold=0.0)
