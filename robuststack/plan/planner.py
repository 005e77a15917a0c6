"""From a suite to its plan, with the rows that its jobs make: quick, and without torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robuststack.hardware import Hardware
from robuststack.plan.games import plan_games
from robuststack.plan.plan import GamePlan, Plan, RowPlan, RunKey, Score
from robuststack.plan.protocols import Protocols
from robuststack.plan.source_digest import keep_meanings
from robuststack.plan.specs import effective_early_stop
from robuststack.plan.suite_jobs import ScoredModel, SuiteJobs, siblings
from robuststack.plugin.attack import Attack
from robuststack.plugin.operating_point import Point, Scoring
from robuststack.plugin.registry import Registry
from robuststack.suite.cell import Cell
from robuststack.suite.resolve import Resolver
from robuststack.suite.suite import Suite
from robuststack.suite.variant import Variant, differing, shown_recipe
from robuststack.wording import options_text

OWN_NETWORK = "own network"


def make_plan(suite: Suite, registry: Registry, hardware: Hardware) -> Plan:
    """Resolve every name and option of `suite` and lay out its jobs.

    Raises:
        SuiteError: with file and line, for anything that could not run: it is found before any compute.
    """
    plan = _Planner(suite, registry, hardware).plan()
    keep_meanings()
    return plan


class _Planner:
    def __init__(self, suite: Suite, registry: Registry, hardware: Hardware) -> None:
        self.suite = suite
        self.registry = registry
        self.hardware = hardware
        self.jobs = SuiteJobs(suite, hardware)
        self.protocols = Protocols(suite)

    def plan(self) -> Plan:
        resolver = Resolver(self.suite, self.registry)
        wanted = resolver.attacks()
        attacks = {label: variant for label, variant in wanted.items() if not variant.component.natural}
        shifts = {label: variant for label, variant in wanted.items() if variant.component.natural}
        rows: list[RowPlan] = []
        games: list[GamePlan] = []
        for cell in resolver.cells(wanted):
            models = self._models(cell)
            of_cell = list(self._rows(cell, models, attacks, shifts))
            rows += of_cell
            if self.suite.evaluate.game:
                games += plan_games(cell, of_cell, models, attacks, self.jobs)
        if self.suite.evaluate.game and not games:
            message = "game: no defense here has two settings of one model; give a tunable one several `points:`"
            raise self.suite.error(message, "evaluate", "game")
        self.protocols.refuse()
        label, times = Counter(row.label for row in rows).most_common(1)[0] if rows else ("", 0)
        if times > 1:
            raise self.suite.error(f"two rows would be the same: {label}")
        # Models are trained and attacked one after another, so that each is loaded once; timings come last, when
        # nothing else is going on.
        jobs = sorted(self.jobs.jobs.values(), key=lambda job: job.kind == "measure")
        return Plan(
            self.suite,
            self.hardware,
            tuple(jobs),
            tuple(rows),
            _printed(attacks),
            _printed(shifts),
            by_id={job.id: job for job in jobs},
            games=tuple(games),
        )

    def _models(self, cell: Cell) -> dict[int, ScoredModel]:
        """The model of each training seed; a model that is not trained has one."""
        return {seed: self.jobs.model(cell, seed) for seed in (self.suite.seeds.train if cell.trains else [0])}

    def _rows(
        self,
        cell: Cell,
        models: Mapping[int, ScoredModel],
        attacks: Mapping[str, Variant],
        shifts: Mapping[str, Variant],
    ) -> Iterator[RowPlan]:
        suite, defense, network = self.suite, cell.defense, cell.architecture
        variant = [
            cell.dataset.named(suite.datasets),
            network.named(siblings(cell, suite)) if network else OWN_NETWORK,
        ]
        several = {
            **({"norm": cell.threat.norm} if len({threat.norm for threat in suite.threat}) > 1 else {}),
            **({"eps": cell.threat.eps} if len(suite.threat) > 1 else {}),
            **shown_recipe(cell.training.recipe, differing(suite.train)),
        }
        for point in cell.points:
            # An option that is called like a knob is no knob: the point has the knob's value, and `shown` the option's.
            swept = {key: value for key, value in defense.swept.items() if key not in point}
            described = options_text({**several, **point})
            label = f"{'/'.join(variant)}/{defense.named(suite.defenses)} {described}".strip()
            facts = {
                "variant": variant,
                "dataset": cell.dataset.component.name,
                "dataset_options": {**cell.dataset.component.options.resolved(), **cell.dataset.made_up},
                "dataset_notes": list(cell.dataset.component.notes),
                "classes": list(cell.dataset.component.classes),
                "split": suite.evaluate.split,
                "limit": suite.evaluate.limit,
                "limit_rule": suite.evaluate.limit_rule if suite.evaluate.limit is not None else None,
                "block": suite.evaluate.block,
                "architecture": network.component.name if network else None,
                "architecture_options": network.component.options.resolved() if network else {},
                "defense": defense.component.name,
                "undefended": defense.component.undefended,
                "options": defense.component.options.resolved(),
                "shown": {
                    **{key: value for key, value in defense.shown.items() if key not in swept},
                    **{key: value for key, value in defense.swept.items() if key not in swept},
                    **defense.recipe(suite.defenses),
                    **several,
                },
                # The knobs, and the options swept by training one model for each value.
                "point": {**swept, **point},
                "retrained": sorted(swept),
                "threat": cell.threat.resolved(),
                "recipe": cell.recipe if cell.trains else None,
                "user_model": cell.user_model.as_written() if cell.user_model else None,
                "device": self.hardware.kind,
                "precision": self.hardware.precision,
            }
            yield self._row(label, facts, cell, point, models, attacks, shifts)

    def _row(
        self,
        label: str,
        facts: Mapping[str, Any],
        cell: Cell,
        point: Point,
        models: Mapping[int, ScoredModel],
        attacks: Mapping[str, Variant],
        shifts: Mapping[str, Variant],
    ) -> RowPlan:
        scored = self.protocols.of(cell, point)
        scorings = scored.scorings
        clean = {
            protocol: self._score(f"{label} clean", None, cell, scoring, models)
            for protocol, scoring in scorings.items()
        }
        used = {protocol: self.protocols.attacks(attacks, protocol, scoring) for protocol, scoring in scorings.items()}
        robust = {
            protocol: {
                name: self._score(f"{label} {name}", attack, cell, scoring, models)
                for name, attack in used[protocol].items()
            }
            for protocol, scoring in scorings.items()
        }
        figures = {
            protocol: {
                name: attack.figures(cell.threat, scoring.attacker_draws_noise)
                for name, attack in used[protocol].items()
            }
            for protocol, scoring in scorings.items()
        }
        shift = {
            name: self._score(f"{label} {name}", shift.component, cell, scored.headline, models)
            for name, shift in shifts.items()
        }
        measured = self.jobs.measure(label, cell, scored.headline.victim)
        facts = {
            **facts,
            "stochastic": scored.headline.victim_draws_noise,
            "inapplicable": dict(scored.inapplicable),
        }
        train = {seed: model.id for seed, model in models.items() if model.job}
        images_of = [score for scores in robust.values() for score in scores.values()] + list(shift.values())
        judged = [job for score in images_of for job in score.jobs.values()]
        images = {job: self.jobs.images[job] for job in judged}
        return RowPlan(label, facts, train, measured.id, clean, robust, figures, images, shift)

    def _score(
        self, label: str, attack: Attack | None, cell: Cell, scoring: Scoring, models: Mapping[int, ScoredModel]
    ) -> Score:
        victim = scoring.victim if attack else scoring.clean
        baked = scoring.victim_baked
        jobs: dict[RunKey, str] = {}
        for train_seed, model in models.items():
            for seed in self.suite.seeds.attack:
                of_seed = f"{label} attack seed {seed}" if len(self.suite.seeds.attack) > 1 else label
                for bake in _bakes(scoring, seed):
                    run = f"{of_seed} bake {bake}" if bake is not None and (attack or baked) else of_seed
                    images = None
                    if attack:
                        early_stop = effective_early_stop(attack.early_stop, scoring.attacker, victim, baked=baked)
                        images = self.jobs.attack(run, attack, cell, scoring.attacker, model, seed, early_stop, bake)
                    judged = self.jobs.judge(run, images, cell, victim, model, seed, bake if baked else None)
                    jobs[(train_seed, seed) if bake is None else (train_seed, seed, bake)] = judged.id
        return Score(jobs, victim.stochastic and not baked)


def _printed(attacks: Mapping[str, Variant]) -> dict[str, dict[str, Any]]:
    """Label -> name and options."""
    return {
        label: {"name": attack.component.name, "options": attack.component.options.resolved()}
        for label, attack in attacks.items()
    }


def _bakes(scoring: Scoring, seed: int) -> Sequence[int | None]:
    """The numbers of the baked draws that stand for the model at an attack seed, others at every seed; None alone if the
    model draws its noise afresh."""
    return [seed * scoring.bakes + number for number in range(scoring.bakes)] or [None]
