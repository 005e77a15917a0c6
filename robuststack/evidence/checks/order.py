"""ORDER: does a weaker attack find more than a stronger one?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from robuststack.evidence.checks.pairs import Pair, PairCheck
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job

STEPS = 20
"""Of PGD, if the row has no gradient attack of several steps."""


class Order(PairCheck):
    name = "ORDER"
    question = "Does random noise find more than FGSM, or one of these more than an attack of many steps?"
    by_gradients = True
    fires_as = "broken"
    fall_means = "a weaker attack finds more, so gradients mislead"
    holds_means = "no weaker attack finds more than a stronger one"

    def pairs(self, subject: Subject) -> Sequence[Pair]:
        return [
            Pair(f"{strong} against {weak}", (stronger,), (weaker,))
            for (weak, weaker), (strong, stronger) in combinations(self._in_order(subject).items(), 2)
        ]

    def _in_order(self, subject: Subject) -> Mapping[str, Job]:
        """Noise, one step, and many steps: of the row if it has such attacks."""
        weak = (subject.attack("noise"), subject.attack("fgsm", **subject.draws))
        attacks = {attack.label: subject.crafted(attack) for attack in weak}
        if subject.main:
            return {**attacks, subject.main[0]: subject.own(subject.main[0])}
        many = subject.attack("pgd", steps=STEPS, step="relative", **subject.draws)
        return {**attacks, many.label: subject.crafted(many)}
