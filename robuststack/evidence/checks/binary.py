"""BINARY: does the attack find an adversarial image that is known to be there?"""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.checks.check import Check, Results
from robuststack.evidence.checks.steps import RESTARTS, lengthened
from robuststack.evidence.checks.verdict import Verdict
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job
from robuststack.plugin.attack import Attack

FOUND = 95.0
"""Percent of the planted images that the attack has to find."""
SEPARATED = 50.0
"""Percent of the images in which the readout has to tell the planted image from the others."""
SEARCH = 50.0
"""Percent of the planted images that random search may find: if it finds more, the test is too easy to say anything."""
TWO_CLASSES = "apgd_ce"
"""Stands for a main attack whose loss needs more classes than two."""
ITERATIONS = 100
"""Of that."""
PASSES = 305.0
"""Of the probe beside its attack's: 201 images inside the ball, the planted one, 100 of the search, 3 to judge. At a
randomised point those of each draw."""
REVISION = 3


class Binary(Check):
    name = "BINARY"
    question = (
        "Does the row's longest attack find an adversarial image that is planted for it, on the model's own features?"
    )
    by_gradients = True

    def inapplicable(self, subject: Subject) -> str:
        attack = self._attack(subject)
        return subject.misfit(attack)

    def jobs(self, subject: Subject) -> Sequence[Job]:
        label = subject.longest[0] if subject.longest else subject.leading_gradient
        passes = PASSES * (10 if subject.stochastic else 1)
        attack = self._attack(subject)
        return [subject.probe("binary", REVISION, attack=label, other=attack, attacks=True, passes=passes)]

    def verdict(self, subject: Subject, results: Results) -> Verdict:
        from robuststack.evidence.limits import share_lower_limit

        jobs = self.jobs(subject)
        facts = results.facts(jobs[0])
        attack = self._attack(subject)
        label = attack.label
        if "failed" in facts:
            return self.says("open", f"{label} cannot attack a network of two classes: {facts['failed']}", jobs)
        images, planted, found = (facts[key] for key in ("images", "separates", "found"))
        layer = f"{facts['features']} inputs of {facts['layer']}" if facts["layer"] else "the logits"
        if 100 * planted < SEPARATED * images or planted == 0:
            text = f"a readout of {layer} tells the planted image from others in {planted} of {images} balls only"
            return self.says("open", text, jobs, figure=round(100 * planted / images, 2), threshold=SEPARATED)
        share, searched = (round(100 * facts[key] / planted, 2) for key in ("found", "search"))
        told = (
            f"{label} finds {found} of {planted} planted images ({share:.1f} %), random search {searched:.1f} %,"
            f" through {layer}"
        )
        missed = 100 * share_lower_limit(planted - found, planted)
        if missed > 100 - FOUND:
            text = f"{told}: it misses at least {missed:.1f} %, {100 - FOUND:.0f} % are allowed"
            return self.says("broken", text, jobs, figure=share, threshold=FOUND)
        if searched > SEARCH:
            return self.says("open", f"{told}: too easy to say much", jobs, figure=share, threshold=FOUND)
        return self.says("holds", told, jobs, figure=share, threshold=FOUND)

    def _attack(self, subject: Subject) -> Attack:
        """The row's attack that climbs longest, by steps or by iterations, as STEPS would run it: a figure rests on the
        best of them, and one start may end at another height than the planted image's on a sound model, too. Another
        stands for it if its loss needs more than two classes."""
        longest = lengthened(subject, subject.longest) or subject.attacks[subject.leading_gradient]
        if longest.min_classes <= 2:
            return longest
        label = subject.longest[0] if subject.longest else subject.leading_gradient
        iterations = longest.options.resolved().get("iterations", ITERATIONS)
        return subject.attack(TWO_CLASSES, iterations=iterations, restarts=RESTARTS, **subject.draws_like(label))
