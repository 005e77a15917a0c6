"""LADDER: does an attacker who ignores the noise, or guesses one draw of it, find more than one who averages over it?"""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.checks.check import Results
from robuststack.evidence.checks.pairs import Pair, PairCheck
from robuststack.evidence.checks.verdict import Verdict
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job
from robuststack.suite.ladder import FROZEN_KNOWN, OFF, SURROGATE

BAKES = 5
"""Baked draws that stand for the model in turn."""


class Ladder(PairCheck):
    name = "LADDER"
    question = "Do images made without the noise, or on a draw of the attacker's own, fool more than those made by EOT?"
    by_gradients = True
    fall_means = "an attacker who knows less finds more"
    holds_means = "no attacker who knows less finds more"

    def inapplicable(self, subject: Subject) -> str:
        if not subject.stochastic:
            return "the point is deterministic"
        if subject.main is None:
            return "no attack of the row has both steps and restarts"
        rungs = subject.rungs(BAKES)
        missing = [reason for rung, reason in rungs.inapplicable.items() if rung in (OFF, SURROGATE)]
        return "" if {OFF, SURROGATE} & rungs.protocols.keys() else missing[0]

    def jobs(self, subject: Subject) -> Sequence[Job]:
        return [*super().jobs(subject), *self._known(subject)]

    def pairs(self, subject: Subject) -> Sequence[Pair]:
        assert subject.main
        label, rungs = subject.main[0], subject.rungs(BAKES).protocols
        attack, own = subject.attacks[label], (subject.own(label),)
        found = []
        if OFF in rungs:
            found.append(Pair("noise off", own, (subject.crafted(attack, setting=rungs[OFF].attacker),)))
        if SURROGATE in rungs:
            baked = tuple(subject.crafted(attack, bake=bake) for bake in range(BAKES))
            found.append(Pair("draws of the attacker's own", own, baked, pooled=True))
        return found

    def verdict(self, subject: Subject, results: Results) -> Verdict:
        verdict = super().verdict(subject, results)
        jobs = dict.fromkeys([*verdict.jobs, *(job.id for job in self._known(subject))])
        known = self._known(subject)
        missing = "; ".join(f"no {rung}: {reason}" for rung, reason in subject.rungs(BAKES).inapplicable.items())
        if not known:
            return verdict.model_copy(update={"text": f"{verdict.text}; {missing}"})
        assert subject.main
        adaptive, fixed = (_accuracy(results, jobs) for jobs in ([subject.own(subject.main[0])], known))
        text = (
            f"{verdict.text}; RA {fixed:.1f} % if the attacker knows the draw, {adaptive:.1f} % if it is secret:"
            f" secrecy is worth {adaptive - fixed:.1f} points"
        )
        return verdict.model_copy(update={"text": f"{text}; {missing}" if missing else text, "jobs": tuple(jobs)})

    def _known(self, subject: Subject) -> list[Job]:
        """The very baked draws attacked and judged, if the model's noise can be kept."""
        assert subject.main
        if FROZEN_KNOWN not in subject.rungs(BAKES).protocols:
            return []
        attack = subject.attacks[subject.main[0]]
        return [subject.crafted(attack, bake=bake, baked_victim=True) for bake in range(BAKES)]


def _accuracy(results: Results, jobs: Sequence[Job]) -> float:
    """The mean over jobs of their accuracy, in percent."""
    accuracies = [float((results.labels(job) == results.truth(job)).mean()) for job in jobs]
    return 100 * sum(accuracies) / len(accuracies)
