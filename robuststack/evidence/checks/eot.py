"""EOT: does the row's gradient attack find more if it averages over more noise draws?"""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.checks.pairs import Pair, PairCheck, with_others
from robuststack.plan.audit import Subject

MORE = 4
"""Times the draws of the row's own attack."""


class Eot(PairCheck):
    name = "EOT"
    question = "Does the row's gradient attack find more when it averages over four times the noise draws?"
    by_gradients = True
    fall_means = "more draws find more"
    holds_means = "four times the draws find no more"

    def inapplicable(self, subject: Subject) -> str:
        if not subject.stochastic:
            return "the point is deterministic"
        if subject.main is None:
            return "no attack of the row has both steps and restarts"
        return "" if self._draws(subject) else f"{subject.main[0]} has no fixed number of draws to raise"

    def pairs(self, subject: Subject) -> Sequence[Pair]:
        assert subject.main
        label, draws = subject.main[0], MORE * self._draws(subject)
        attack = subject.changed(label, **{subject.attacks[label].draws_option: draws})
        return [with_others(subject, f"{attack.label} with {draws} draws", subject.crafted(attack))]

    def _draws(self, subject: Subject) -> int:
        """The draws of the row's own attack; 0 if it has no such option."""
        assert subject.main
        attack = subject.attacks[subject.main[0]]
        draws = attack.options.resolved().get(attack.draws_option)
        return draws if isinstance(draws, int) else 0
