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
        return "" if _draws(subject) else f"{subject.main[0]} has no number of draws to raise"

    def pairs(self, subject: Subject) -> Sequence[Pair]:
        assert subject.main
        label, draws = subject.main[0], _draws(subject)
        attack = subject.attacks[label]
        if attack.chooses_draws:
            job = subject.crafted(attack, draws_times=MORE)
            return [with_others(subject, f"{label} with {MORE} times the chosen draws", job)]
        more = subject.changed(label, **{attack.draws_option: MORE * draws})
        return [with_others(subject, f"{more.label} with {MORE * draws} draws", subject.crafted(more))]


def _draws(subject: Subject) -> int:
    """The draws of the row's own attack; 1 if a run chooses them, and 0 if it has no such option."""
    assert subject.main
    attack = subject.attacks[subject.main[0]]
    draws = attack.options.resolved().get(attack.draws_option)
    return 1 if attack.chooses_draws else int(draws or 0)
