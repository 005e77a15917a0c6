"""MODE: does the model keep still while it is attacked and judged?"""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.evidence.checks.check import Check, Results
from robuststack.evidence.checks.stochastic import ROUNDING
from robuststack.evidence.checks.verdict import Verdict
from robuststack.plan.audit import Subject
from robuststack.plan.job import Job

PASSES = 4.0
"""Of the probe."""
REVISION = 1


class Mode(Check):
    name = "MODE"
    question = "Is the whole model in eval mode, and does no call change what the next one says?"

    def jobs(self, subject: Subject) -> Sequence[Job]:
        return [subject.probe("mode", REVISION, passes=PASSES)]

    def verdict(self, subject: Subject, results: Results) -> Verdict:
        jobs = self.jobs(subject)
        facts = results.facts(jobs[0])
        training, moved = _named(facts["training"]), _named(facts["moved"])
        effects = {
            f"{training} trains in eval mode, which moves": 100 * facts["train_effect"],
            f"a pass changes {moved}, and the next one moves": 100 * facts["state_effect"],
        }
        figure = round(max(effects.values()), 6)
        told = [
            f"{what} logits by {effect:.2g} % of the largest" for what, effect in effects.items() if effect > ROUNDING
        ]
        repeatable = 100 * facts["repeat"] <= ROUNDING
        faults = told if repeatable else []
        if facts["statistics"]:
            faults = [f"{_named(facts['statistics'])} moves: its module trains in eval mode", *faults]
        if faults:
            return self.says("broken", "; ".join(faults), jobs, figure=figure, threshold=ROUNDING)
        if told:
            text = f"{'; '.join(told)}; or that is noise, which no seed repeats"
            return self.says("open", text, jobs, figure=figure, threshold=ROUNDING)
        harmless = [f"{training} trains, without effect"] if training else []
        harmless += [f"a pass changes {moved}, without effect"] if moved else []
        text = "; ".join(harmless) or "no module trains in eval mode, and no pass changes a buffer"
        return self.says("holds", text, jobs, figure=figure, threshold=ROUNDING)


def _named(paths: Sequence[str]) -> str:
    """`norm1` or `norm1 and 3 more`."""
    return f"{paths[0]} and {len(paths) - 1} more" if len(paths) > 1 else "".join(paths)
