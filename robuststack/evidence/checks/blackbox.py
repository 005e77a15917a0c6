"""BLACKBOX: do attacks that use no gradient of the model fool images that no gradient attack fools?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robuststack.evidence.checks.check import Check, Results
from robuststack.evidence.checks.steps import Steps
from robuststack.evidence.checks.stronger import Stronger
from robuststack.evidence.checks.verdict import Verdict
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job
from robuststack.plan.plan import HEADLINE
from robuststack.plan.specs import AttackSpec

QUERIES = 1000
ALONE = 2.0
"""Percent of the images that only such attacks may fool."""


class Blackbox(Check):
    name = "BLACKBOX"
    question = "Do Square, or images made for an undefended network, fool images that no gradient attack fools?"
    by_gradients = True

    def jobs(self, subject: Subject) -> Sequence[Job]:
        return [*self._without_gradients(subject).values(), *self._white_box(subject)]

    def verdict(self, subject: Subject, results: Results) -> Verdict:
        from robuststack.evidence.limits import share_lower_limit

        blind = self._without_gradients(subject)
        seen_through = np.any([_fooled(results, job) for job in self._white_box(subject)], axis=0)
        alone = np.array([_fooled(results, job) & ~seen_through for job in blind.values()])
        only, n = int(alone.any(0).sum()), len(seen_through)
        low = round(100 * share_lower_limit(only, n), 2)
        told = ", ".join(f"{name} {int(count)}" for name, count in zip(blind, alone.sum(1), strict=True))
        text = (
            f"{only} of {n} images are fooled without gradients only ({told}): at least {low:.1f} % of images,"
            f" {ALONE:.0f} % are allowed"
        )
        if subject.undefended is None and not subject.row.facts["undefended"]:
            text += "; no undefended network to transfer from"
        return self.says("broken" if low > ALONE else "holds", text, self.jobs(subject), figure=low, threshold=ALONE)

    def _without_gradients(self, subject: Subject) -> dict[str, Job]:
        """Judge jobs of images that were made without a gradient of this model, by what made them."""

        def make() -> dict[str, Job]:
            square = subject.attack("square", queries=QUERIES, **subject.draws)
            made = {} if subject.misfit(square) else {square.label: subject.crafted(square)}
            return made | _transferred(subject)

        return subject.once((self.name, "without gradients"), make)

    def _white_box(self, subject: Subject) -> list[Job]:
        """The row's gradient attacks, and the stronger ones of STEPS and STRONGER."""
        own = [subject.own(label) for label, attack in subject.attacks.items() if attack.needs_gradients]
        more = [check for check in (Steps(), Stronger()) if not check.inapplicable(subject)]
        return [*own, *(job for check in more for pair in check.compared(subject) for job in pair.after)]


def _transferred(subject: Subject) -> dict[str, Job]:
    """The row's longest attack on the undefended network of the same training seed, judged on the row's model."""
    plain = subject.undefended
    if plain is None or subject.main is None or not plain.train:
        return {}
    label = subject.main[0]
    protocol = HEADLINE if HEADLINE in plain.robust else next(iter(plain.robust))
    pairs = plain.robust[protocol][label].jobs
    judge = pairs.get(subject.seeds) or pairs[min(pairs)]
    spec = subject.jobs.jobs[plain.images[judge]].spec
    assert isinstance(spec, AttackSpec)
    whole = spec.model_copy(update={"early_stop": False, "selection": subject.images})
    images = subject.jobs.attack(whole, f"{plain.label} {label} to the end, {subject.count} images")
    return {"transfer": subject.judged(images, f"{label} for an undefended network")}


def _fooled(results: Results, job: Job) -> np.ndarray:
    """Which images are right in under half of their draws, bool [n]."""
    return np.asarray((results.labels(job) == results.truth(job)).mean(0) < 0.5)
