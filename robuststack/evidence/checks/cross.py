"""CROSS: do images made for another setting of the same model fool this one better than its own?"""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.checks.pairs import Pair, PairCheck
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job
from robuststack.plan.specs import AttackSpec


class Cross(PairCheck):
    name = "CROSS"
    question = "Do images made for another setting of the same model fool this one better than those made for it?"
    by_gradients = True
    fall_means = "images made for another setting find more"
    holds_means = "images made for other settings find no more"

    def inapplicable(self, subject: Subject) -> str:
        if subject.main is None:
            return "no attack of the row has both steps and restarts"
        return "" if self._elsewhere(subject) else "the suite has no other setting of this model"

    def pairs(self, subject: Subject) -> Sequence[Pair]:
        assert subject.main
        label = subject.main[0]
        return [
            Pair(f"{label} for {point}", (subject.own(label),), (subject.judged(images, f"{label} for {point}"),))
            for point, images in self._elsewhere(subject).items()
        ]

    def _elsewhere(self, subject: Subject) -> dict[str, Job]:
        """The longest attack of the row on each other setting of its model, by the other row's label. Images that are
        done once they fool their own setting are made anew: they would flatter this one."""
        assert subject.main
        label = subject.main[0]
        mine = subject.own_attack(label)
        made: dict[str, Job] = {}
        for row in subject.plan.rows:
            score = row.robust.get(subject.protocol, {}).get(label)
            if row is subject.row or score is None or subject.seeds not in score.jobs:
                continue
            job = subject.jobs.jobs[row.images[score.jobs[subject.seeds]]]
            spec = job.spec
            assert isinstance(spec, AttackSpec)
            if (spec.model, spec.threat) != (mine.model, mine.threat) or spec.setting == mine.setting:
                continue
            if spec.early_stop:
                whole = spec.model_copy(update={"early_stop": False, "selection": subject.images})
                job = subject.jobs.attack(whole, f"{row.label} {label} to the end, {subject.count} images")
            made[row.label] = job
        return made
