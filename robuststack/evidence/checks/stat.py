"""STAT: do images and seeds say anything at this precision?"""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.checks.check import Check, Results
from robuststack.evidence.checks.verdict import Verdict
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job

IMAGES = 200
HALF_WIDTH = 5.0
"""Points to either side of the row's robust accuracy."""


class Stat(Check):
    name = "STAT"
    question = "Are there enough images and training seeds, and is the interval narrow enough?"

    def jobs(self, subject: Subject) -> Sequence[Job]:
        """The row's own judging of all its images, for each training seed."""
        return [job for jobs in self._by_seed(subject).values() for job in jobs]

    def verdict(self, subject: Subject, results: Results) -> Verdict:
        from robuststack.evidence.figures import measured

        models = self._by_seed(subject)
        truth = results.truth(next(iter(models.values()))[0])
        runs = {pair: [results.labels(job) for job in jobs] for pair, jobs in models.items()}
        figure = measured(runs, truth)
        width = 100 * (figure.high - figure.low) / 2
        doubts = []
        if len(truth) < IMAGES:
            doubts.append(f"{len(truth)} images, fewer than {IMAGES}")
        if width > HALF_WIDTH:
            doubts.append(f"RA is known to {width:.1f} points to either side, more than {HALF_WIDTH:.0f}")
        if len(subject.row.train) == 1:
            doubts.append("one training seed")
        told = "; ".join(doubts) or f"{len(truth)} images, RA known to {width:.1f} points to either side"
        return self.says(
            "open" if doubts else "holds", told, self.jobs(subject), figure=round(width, 2), threshold=HALF_WIDTH
        )

    def _by_seed(self, subject: Subject) -> dict[tuple[int, ...], list[Job]]:
        """The judge jobs of each attack, for each training seed with the subject's attack seed."""
        scores = subject.row.robust[subject.protocol].values()
        pairs = [pair for pair in next(iter(scores)).jobs if pair[1] == subject.seeds[1]]
        return {pair: [subject.jobs.jobs[score.jobs[pair]] for score in scores] for pair in pairs}
