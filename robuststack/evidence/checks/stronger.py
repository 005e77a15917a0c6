"""STRONGER: does Auto-PGD find more than the row's attacks?"""

from __future__ import annotations

import math
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
        attacks = [attack for attack, _ in _attacks(subject)]
        draws = max(_draws(attack, subject) for attack in attacks)
        for label, attack in subject.attacks.items():
            iterations = attack.options.resolved().get("iterations", 0)
            if ENSEMBLE in attack.name and iterations >= ITERATIONS and _draws(attack, subject) >= draws:
                return f"the row has {label} already"
        misfits = [subject.misfit(attack) for attack in attacks]
        return misfits[0] if all(misfits) else ""

    def pairs(self, subject: Subject) -> Sequence[Pair]:
        fitting = [(attack, label) for attack, label in _attacks(subject) if not subject.misfit(attack)]
        return [
            with_others(subject, attack.label, subject.crafted(attack, draws_like=label)) for attack, label in fitting
        ]


def _attacks(subject: Subject) -> list[tuple[Attack, str]]:
    """Each with its default number of draws or, if that is more or a run's choice, with that of the row's attack of most
    draws; and the label of that attack."""
    most = max(subject.attacks, key=lambda label: _draws(subject.attacks[label], subject))
    made = []
    for name in ATTACKS:
        default = subject.attack(name, iterations=ITERATIONS)
        own = subject.attack(name, iterations=ITERATIONS, **subject.draws_like(most))
        made.append((max(default, own, key=lambda attack: _draws(attack, subject)), most))
    return made


def _draws(attack: Attack, subject: Subject) -> float:
    """How many draws it averages over; infinitely many if a run chooses them: more do not help."""
    return math.inf if attack.chooses_draws else attack.draws(subject.stochastic)
