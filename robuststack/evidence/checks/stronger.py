"""STRONGER: does Auto-PGD find more than the row's attacks?"""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.checks.pairs import Pair, PairCheck, with_others
from robuststack.plan.audit import Subject
from robuststack.plugin.attack import Attack

ITERATIONS = 100
ATTACKS = ("apgd_ce", "apgd_dlr")
ENSEMBLE = "autoattack"
"""The name of an attack that holds both of these has it in its own."""


class Stronger(PairCheck):
    name = "STRONGER"
    question = "Do APGD-CE and APGD-DLR with 100 iterations find more than the row's attacks?"
    by_gradients = True
    fall_means = "a stronger attack finds more"
    holds_means = "APGD-CE and APGD-DLR find no more"

    def inapplicable(self, subject: Subject) -> str:
        for label, attack in subject.attacks.items():
            if ENSEMBLE in attack.name and attack.options.resolved().get("iterations", 0) >= ITERATIONS:
                return f"the row has {label} already"
        misfits = [subject.misfit(attack) for attack in _attacks(subject)]
        return misfits[0] if all(misfits) else ""

    def pairs(self, subject: Subject) -> Sequence[Pair]:
        fitting = [attack for attack in _attacks(subject) if not subject.misfit(attack)]
        return [with_others(subject, attack.label, subject.crafted(attack)) for attack in fitting]


def _attacks(subject: Subject) -> list[Attack]:
    return [subject.attack(name, iterations=ITERATIONS) for name in ATTACKS]
