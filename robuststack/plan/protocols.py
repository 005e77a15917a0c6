"""The protocols that a suite asks for, as each of its points has them: the defense's own, and the rungs of the ladder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from robuststack.did_you_mean import did_you_mean
from robuststack.plan.job_id import job_id
from robuststack.plan.specs import ComponentSpec
from robuststack.plugin.attack import Attack
from robuststack.plugin.operating_point import Point, Scoring
from robuststack.suite.cell import Cell
from robuststack.suite.ladder import ADAPTIVE, RUNGS, ladder
from robuststack.suite.suite import Suite
from robuststack.suite.variant import Variant


@dataclass(frozen=True)
class PointProtocols:
    """How one point is scored."""

    scorings: Mapping[str, Scoring]
    """Protocol -> what is attacked and judged, in the order in which the suite asks."""
    inapplicable: Mapping[str, str]
    """Rung of the ladder that the suite asks for -> why this point does not have it."""

    @property
    def headline(self) -> Scoring:
        return self.scorings.get(ADAPTIVE) or next(iter(self.scorings.values()))


class Protocols:
    """The protocols of a suite. It remembers what its points have, to refuse in the end what none of them has."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.known = {ADAPTIVE, *RUNGS}
        self.has_ladder = False
        """Whether any point draws noise."""

    def of(self, cell: Cell, point: Point) -> PointProtocols:
        """How a point is scored; by `adaptive` if it has none of what the suite asks for.

        Raises:
            SuiteError: the defense names a protocol of its own like a rung of the ladder.
        """
        own, asked = cell.protocols(point), self.suite.evaluate.scored_by
        taken = sorted({*RUNGS} & {*own})
        if taken:
            message = f"defense {cell.defense.component.name!r} has a protocol {taken[0]!r}, the name of a rung"
            raise self.suite.error(f"{message} of the ladder; its author has to rename it", *cell.defense.path, "name")
        self.known.update(own)
        users_noise = cell.user_model is not None and cell.user_model.source.stochastic
        rungs = ladder(cell.defense.component, own[ADAPTIVE], self.suite.evaluate.bakes, users_noise=users_noise)
        self.has_ladder |= rungs is not None
        protocols = {**own, **(rungs.protocols if rungs else {})}
        missing = {name: reason for name, reason in (rungs.inapplicable if rungs else {}).items() if name in asked}
        wanted = [name for name in asked if name in protocols] or [ADAPTIVE]
        return PointProtocols({name: protocols[name] for name in wanted}, missing)

    def attacks(self, attacks: Mapping[str, Variant], protocol: str, scoring: Scoring) -> dict[str, Attack]:
        """The attacks by label, with the draws of the protocol if it says how many.

        Raises:
            SuiteError: two of them are one attack then.
        """
        if scoring.draws is None or not scoring.attacker_draws_noise:
            return {label: variant.component for label, variant in attacks.items()}
        used: dict[str, Attack] = {
            label: variant.component.with_draws(scoring.draws) for label, variant in attacks.items()
        }
        labels: dict[str, str] = {}
        for label, attack in used.items():
            same = labels.setdefault(job_id("attack", ComponentSpec.of(attack)), label)
            if same != label:
                message = (
                    f"protocol {protocol!r} sets draws to {scoring.draws}, so {same!r} and {label!r} are one attack"
                )
                raise self.suite.error(f"{message}; leave out one of them, or the protocol", "attacks")
        return used

    def refuse(self) -> None:
        """Call after the last point.

        Raises:
            SuiteError: no point has a protocol that is asked for, or a ladder is and no point draws noise.
        """
        evaluate = self.suite.evaluate
        unknown = [name for name in evaluate.protocols if name not in self.known]
        if unknown:
            message = f"no defense here has a protocol {unknown[0]!r}: {did_you_mean(unknown[0], self.known)}"
            raise self.suite.error(message, "evaluate", "protocols")
        rungs = [name for name in RUNGS if name in evaluate.scored_by]
        if rungs and not self.has_ladder:
            asked, key = ("a ladder", "ladder") if evaluate.ladder else (f"protocol {rungs[0]!r}", "protocols")
            message = f"{asked} needs a point that draws noise, and every point here is deterministic"
            raise self.suite.error(f"{message}; leave it out, or add a randomised defense", "evaluate", key)
