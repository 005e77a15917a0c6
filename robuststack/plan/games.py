"""The games of a suite: the jobs that play the knob of a tunable defense against an attacker who does not see it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robuststack.plan.job import Job
from robuststack.plan.passes import attack_passes
from robuststack.plan.plan import HEADLINE, GamePlan, RowPlan
from robuststack.plan.specs import AttackSpec, ComponentSpec, GameRow, GameSpec
from robuststack.plan.suite_jobs import ScoredModel, SuiteJobs
from robuststack.plugin.operating_point import Scoring, Setting
from robuststack.suite.cell import Cell
from robuststack.suite.variant import Variant
from robuststack.wording import options_text


@dataclass(frozen=True)
class _Setting:
    """A setting of the cell's model, how it is scored, and the rows that come to it."""

    scoring: Scoring
    rows: tuple[RowPlan, ...]

    @property
    def point(self) -> dict[str, Any]:
        """The knobs, without the options that a model is trained for."""
        facts = self.rows[0].facts
        return {key: value for key, value in facts["point"].items() if key not in facts["retrained"]}

    @property
    def label(self) -> str:
        return self.rows[0].label


def plan_games(
    cell: Cell,
    rows: Sequence[RowPlan],
    models: Mapping[int, ScoredModel],
    attacks: Mapping[str, Variant],
    jobs: SuiteJobs,
) -> Iterator[GamePlan]:
    """The game of a cell with two settings or more; `rows` are those of its points. Points of one setting count once."""
    by_setting: dict[str, _Setting] = {}
    for point, row in zip(cell.points, rows, strict=True):
        scoring = cell.protocols(point)[HEADLINE]
        key = json.dumps(scoring.victim.resolved(), sort_keys=True)
        before = by_setting[key].rows if key in by_setting else ()
        by_setting[key] = _Setting(scoring, (*before, row))
    settings = list(by_setting.values())
    if len(settings) < 2:
        return
    facts = rows[0].facts
    yield GamePlan(
        variant=tuple(facts["variant"]),
        defense=facts["defense"],
        # Swept options, which a model is trained for, tell games of one defense apart.
        shown={**facts["shown"], **{key: facts["point"][key] for key in facts["retrained"]}},
        threat=facts["threat"],
        settings=tuple(_names(settings)),
        rows=tuple(tuple(row.label for row in setting.rows) for setting in settings),
        attacks=tuple(attacks),
        jobs={
            (train_seed, seed): _game_job(settings, cell, attacks, model, seed, jobs).id
            for train_seed, model in models.items()
            for seed in jobs.suite.seeds.attack
        },
    )


def _names(settings: Sequence[_Setting]) -> list[str]:
    """What tells each setting from the others: the knobs whose values differ."""
    points = [setting.point for setting in settings]
    told = [key for key in points[0] if any(point.get(key) != points[0][key] for point in points)]
    return [options_text({key: point[key] for key in told}) for point in points]


def _game_job(
    settings: Sequence[_Setting],
    cell: Cell,
    attacks: Mapping[str, Variant],
    model: ScoredModel,
    seed: int,
    jobs: SuiteJobs,
) -> Job:
    """The game of one model: each attack at each setting, to the end, judged at every setting; then the mixtures."""
    suite = jobs.suite
    judges: dict[str, Job] = {}

    def judged(label: str, images: Job | None, victim: Setting) -> str:
        judge = jobs.judge(label, images, cell, victim, model, seed)
        judges[judge.id] = judge
        return judge.id

    clean = [judged(f"{setting.label} clean", None, setting.scoring.clean) for setting in settings]
    rows: list[GameRow] = []
    for position, (name, variant) in enumerate(attacks.items()):
        for place, setting in enumerate(settings):
            label = f"{setting.label} {name} to the end"
            # Another setting judges the images too: they are not done if they fool their own.
            images = jobs.attack(label, variant.component, cell, setting.scoring.attacker, model, seed, False)
            told = [
                judged(f"{label}, against {victim_name}", images, victim.scoring.victim)
                for victim_name, victim in zip(_names(settings), settings, strict=True)
            ]
            draws_from = images.spec.draws_from if isinstance(images.spec, AttackSpec) else None
            rows.append(GameRow(attack=position, setting=place, judged=tuple(told), draws_from=draws_from))
    components = [variant.component for variant in attacks.values()]
    victims = [setting.scoring.victim for setting in settings]
    assert suite.evaluate.game is not None
    spec = GameSpec(
        **jobs.scored(cell, model),
        setting=victims[0],
        others=tuple(victims[1:]),
        attacks=tuple(ComponentSpec.of(component) for component in components),
        rows=tuple(rows),
        clean=tuple(clean),
        least_clean=suite.evaluate.game.ca,
        threat=cell.threat,
        precision=jobs.hardware.precision,
        seed=seed,
        draws=suite.evaluate.judging_draws,
    )
    stochastic = any(victim.stochastic for victim in victims)
    # A guess: one round of attacks that looks at two settings and at every image.
    answers = 2 * max(attack_passes(component, stochastic) for component in components)
    costliest = max(victims, key=cell.defense.component.forward_passes)
    chosen = [jobs.jobs[probe] for probe in dict.fromkeys(row.draws_from for row in rows if row.draws_from)]
    before = [*judges.values(), *([model.job] if model.job else [])]
    label = f"{settings[0].label.removesuffix(options_text(settings[0].point)).strip()} game"
    work = jobs.work(cell, costliest, answers)
    return jobs.job(label, spec, [*model.components, *components], [*chosen, *before], before, work, work)
