"""STEPS: does the row's gradient attack find more if it climbs longer and starts more often?"""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.checks.pairs import Pair, PairCheck, with_others
from robuststack.plan.audit import Subject
from robuststack.plugin.attack import Attack

LONGER = 2
"""Times the steps of the row's own attack."""
RESTARTS = 5


class Steps(PairCheck):
    name = "STEPS"
    question = "Does the row's gradient attack find more with twice the steps and five random starts?"
    by_gradients = True
    fall_means = "more steps find more"
    holds_means = "twice the steps from five starts find no more"

    def inapplicable(self, subject: Subject) -> str:
        return "" if subject.main else "no attack of the row has both steps and restarts to raise"

    def pairs(self, subject: Subject) -> Sequence[Pair]:
        longer = lengthened(subject, subject.main)
        assert longer is not None
        return [with_others(subject, longer.label, subject.crafted(longer))]


def lengthened(subject: Subject, climbing: tuple[str, str] | None) -> Attack | None:
    """One of the row's attacks with more steps and starts, by its label and the option that says how long it climbs; None
    if there is none that can have more."""
    if climbing is None:
        return None
    label, option = climbing
    options = subject.attacks[label].options.resolved()
    restarts = max(RESTARTS, options["restarts"])
    return subject.changed(label, **{option: LONGER * options[option]}, restarts=restarts)
