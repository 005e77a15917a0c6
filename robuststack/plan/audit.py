"""What an audit plans with: one trained model of a row at its operating point, and the images that checks look at."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from robuststack.errors import RobustStackError
from robuststack.plan.derived import DerivedJobs
from robuststack.plan.job import Job
from robuststack.plan.plan import HEADLINE, Plan, RowPlan
from robuststack.plan.planner import make_plan
from robuststack.plan.specs import AttackSpec, ComponentSpec, ImageSelection, JudgeSpec, ProbeSpec, effective_early_stop
from robuststack.plugin.attack import Attack
from robuststack.plugin.defense import Defense
from robuststack.plugin.operating_point import Scoring, Setting
from robuststack.plugin.threat import Threat
from robuststack.suite.ladder import Ladder, ladder
from robuststack.suite.parts import DefensePart
from robuststack.suite.suite import Suite

T = TypeVar("T")
IMAGES = 200
"""Images that a check looks at, and at most as many others that confirm what it finds."""
UNDEFENDED = "none"
"""The defense whose network is trained for transfer."""
LENGTHS = ("steps", "iterations")
"""Options that say how long an attack climbs, the first that one of the row's attacks has."""


@dataclass(frozen=True)
class Subject:
    """One model of a row and a sample of the row's images, scored as the row's headline is."""

    plan: Plan
    jobs: DerivedJobs
    row: RowPlan
    seeds: tuple[int, ...]
    """Training seed and attack seed."""
    images: ImageSelection
    """The images that the jobs of checks take."""
    undefended: RowPlan | None = None
    """A row of a plain network on the same data and threat model, if there is one or can be trained."""
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is planned for this subject under a key, planned when it is first asked for."""
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    @cached_property
    def protocol(self) -> str:
        return HEADLINE if HEADLINE in self.row.robust else next(iter(self.row.robust))

    @cached_property
    def clean(self) -> JudgeSpec:
        """How the row judges clean images."""
        spec = self.jobs.jobs[self.row.clean[self.protocol].jobs[self.seeds]].spec
        assert isinstance(spec, JudgeSpec)
        return spec

    @cached_property
    def judges(self) -> Mapping[str, str]:
        """Attack label -> the row's own judge job."""
        return {label: score.jobs[self.seeds] for label, score in self.row.robust[self.protocol].items()}

    def own_judge(self, label: str) -> JudgeSpec:
        """How the row judges the images of one of its attacks."""
        spec = self.jobs.jobs[self.judges[label]].spec
        assert isinstance(spec, JudgeSpec)
        return spec

    def own_attack(self, label: str) -> AttackSpec:
        """How the row makes the images of one of its attacks."""
        spec = self.made(label).spec
        assert isinstance(spec, AttackSpec)
        return spec

    @cached_property
    def attacks(self) -> Mapping[str, Attack]:
        """The row's attacks by label."""
        return {label: self.jobs.component("attack", self.own_attack(label).attack) for label in self.judges}

    @cached_property
    def victim(self) -> Setting:
        """How the model is deployed."""
        return self.own_judge(next(iter(self.judges))).setting

    @property
    def stochastic(self) -> bool:
        return self.victim.stochastic

    @cached_property
    def threat(self) -> Threat:
        return self.own_attack(next(iter(self.judges))).threat

    @cached_property
    def num_classes(self) -> int:
        return self.jobs.dataset(self.clean).num_classes

    @cached_property
    def defense(self) -> Defense:
        return self.jobs.defense(self.clean)

    @cached_property
    def count(self) -> int:
        """How many images the jobs of checks take."""
        return self.images.count(self.jobs.dataset(self.clean).size(self.images.split))

    @cached_property
    def differentiable(self) -> bool:
        """Whether the row is attacked by gradients."""
        return any(attack.needs_gradients for attack in self.attacks.values())

    @cached_property
    def main(self) -> tuple[str, str] | None:
        """The label of the row's gradient attack that climbs longest, and the option that says how long; None if there is
        none that may also be restarted."""
        for option in LENGTHS:
            lengths = {
                label: attack.options.resolved()[option]
                for label, attack in self.attacks.items()
                if attack.needs_gradients and {option, "restarts"} <= attack.options.resolved().keys()
            }
            if lengths:
                return max(lengths, key=lambda label: lengths[label]), option
        return None

    @cached_property
    def longest(self) -> tuple[str, str] | None:
        """As `main`, of the attacks with either option; of equal lengths one by `iterations`, whose step adapts."""
        found = [
            (options[option], option == "iterations", label, option)
            for label, attack in self.attacks.items()
            for options in [attack.options.resolved()]
            for option in LENGTHS
            if attack.needs_gradients and {option, "restarts"} <= options.keys()
        ]
        return max(found, key=lambda length: length[:2])[2:] if found else None

    @cached_property
    def draws(self) -> Mapping[str, int | str]:
        """The option `draws` that other attacks of the audit take from the row's own: as many noise draws as its main
        attack averages over, `auto` if a run chooses them. Empty at a deterministic point, and if it has no such option."""
        return self.draws_like(self._leading)

    def draws_like(self, label: str) -> Mapping[str, int | str]:
        """The option `draws` as one of the row's attacks has it; empty at a deterministic point, and if it has none."""
        attack = self.attacks[label]
        number = attack.options.resolved().get(attack.draws_option)
        return {"draws": number} if self.stochastic and number is not None else {}

    @property
    def leading_gradient(self) -> str:
        """The label of the main attack, or of the first that needs gradients."""
        return self.main[0] if self.main else next(name for name, kind in self.attacks.items() if kind.needs_gradients)

    @property
    def _leading(self) -> str:
        """The label of the attack that says how many draws the others of the audit take."""
        return self.main[0] if self.main else next(iter(self.attacks))

    def rungs(self, bakes: int) -> Ladder:
        """What the ladder has for this randomised point, with so many baked draws, and why the rest does not apply."""
        user_model = self.jobs.model(self.clean).user_model
        scoring = Scoring(clean=self.victim, attacker=self.victim, victim=self.victim)
        rungs = ladder(self.defense, scoring, bakes, users_noise=user_model is not None and user_model.stochastic)
        assert rungs is not None, "the point draws no noise"
        return rungs

    @cached_property
    def others(self) -> Subject:
        """The same model on up to `IMAGES` other images of the row."""
        sample = self.images.sample
        assert sample is not None
        return replace(self, images=self.images.sampled(IMAGES, besides=sample.count))

    def attack(self, name: str, **options: Any) -> Attack:
        """A registered attack."""
        attack: Attack = self.jobs.registry.create("attack", name, options)
        return attack

    def changed(self, label: str, **options: Any) -> Attack:
        """One of the row's attacks with some of its options changed."""
        spec = self.own_attack(label).attack
        return self.attack(spec.name, **{**spec.options, **spec.places, **options})

    def misfit(self, attack: Attack) -> str:
        """Why an attack cannot run on this row; empty if it can."""
        if self.threat.norm not in attack.norms:
            return f"{attack.label} does not know the norm {self.threat.norm}"
        if attack.min_classes > self.num_classes:
            return f"{attack.label} needs {attack.min_classes} classes, there are {self.num_classes}"
        return ""

    def made(self, label: str) -> Job:
        """The row's own job that makes the images of one of its attacks, all of them."""
        return self.jobs.jobs[self.row.images[self.judges[label]]]

    def own(self, label: str) -> Job:
        """The images of one of the row's attacks, judged as the row does."""
        return self.once(("own", label), lambda: self._judge(self.own_judge(label), label))

    def all_own(self) -> tuple[Job, ...]:
        """The images of each of the row's attacks."""
        return tuple(self.own(label) for label in self.judges)

    def judged_clean(self) -> Job:
        """The clean images, judged as the row does."""
        return self._judge(self.clean, "clean")

    def crafted(
        self,
        attack: Attack,
        *,
        threat: Threat | None = None,
        setting: Setting | None = None,
        bake: int | None = None,
        baked_victim: bool = False,
        draws_like: str | None = None,
        draws_times: int | None = None,
    ) -> Job:
        """The images that another attack makes, judged as the row judges. The attacker sees the model under `setting`, by
        default as the row's attacker does; images lie in the ball of `threat`, by default the row's. `bake` names a baked
        draw that the attacker sees in place of the model, and with `baked_victim` that draw is judged too. An attack that
        leaves its draws to a run takes those that were chosen for the row's attack `draws_like`, by default the main one,
        times `draws_times`."""
        like = self.own_attack(next(iter(self.judges)))
        setting = setting or like.setting
        spec = AttackSpec(
            **{name: getattr(like, name) for name in ("model", "foreign", "seed", "block", "device", "precision")},
            attack=ComponentSpec.of(attack),
            threat=threat or like.threat,
            setting=setting,
            selection=self.images,
            early_stop=effective_early_stop(attack.early_stop, setting, self.victim, baked=baked_victim),
            bake=bake,
            draws_from=self.own_attack(draws_like or self._leading).draws_from,
            draws_times=draws_times,
        )
        name = attack.label if threat is None else f"{attack.label} eps={threat.eps:g}"
        name += "" if draws_times is None else f" draws x{draws_times}"
        name += "" if bake is None else f" bake {bake}"
        images = self.jobs.attack(spec, self._label(name))
        return self.judged(images, name, bake=bake if baked_victim else None)

    def judged(self, images: Job, name: str, *, bake: int | None = None) -> Job:
        """The images of an attack job, of whichever model, judged as the row judges, or on a baked draw of the model."""
        like = self.own_judge(next(iter(self.judges)))
        baked = {"bake": bake, "draws": 1, "seed": 0} if bake is not None else {}
        return self._judge(like.model_copy(update={"images": images.id, **baked}), name)

    def rejudged(self, label: str, draws: int) -> Job:
        """The images of one of the row's attacks, judged on draws that no other job uses."""
        spec = self.own_judge(label).model_copy(update={"stream": "rejudge", "draws": draws})
        return self._judge(spec, f"{label}, fresh draws")

    def probe(
        self,
        name: str,
        revision: int,
        *,
        attack: str | None = None,
        other: Attack | None = None,
        attacks: bool = False,
        passes: float = 1.0,
    ) -> Job:
        """A probe of the live model as it is deployed or, with the label of one of the row's attacks, a probe of that
        attack on the model as its attacker sees it. `other` stands for that attack, which it runs if it `attacks`; `passes`
        are what else it takes for each image."""
        like = self.own_attack(attack or next(iter(self.judges)))
        spec = ProbeSpec(
            model=self.clean.model,
            foreign=self.clean.foreign,
            setting=like.setting if attack else self.victim,
            selection=self.images,
            seed=self.seeds[1],
            block=self.clean.block,
            device=self.clean.device,
            probe=name,
            revision=revision,
            attack=ComponentSpec.of(other) if other else like.attack if attack else None,
            draws_from=like.draws_from if attack else None,
            threat=like.threat,
            precision=like.precision,
            draws=self.own_judge(next(iter(self.judges))).draws,
        )
        return self.jobs.probe(spec, self._label(name), passes, attacks=attacks)

    def _judge(self, spec: JudgeSpec, name: str) -> Job:
        return self.jobs.judge(spec.model_copy(update={"selection": self.images}), self._label(name))

    def _label(self, name: str) -> str:
        return f"{self.row.label} {name}, {self.count} images"


def subjects(plan: Plan, jobs: DerivedJobs, rows: Sequence[RowPlan], images: int = IMAGES) -> dict[str, list[Subject]]:
    """What the checks of each row look at: one subject for each training seed, with the first attack seed."""
    plain = _undefended(plan, jobs, rows)
    by_row: dict[str, list[Subject]] = {}
    for row in rows:
        protocol = HEADLINE if HEADLINE in row.clean else next(iter(row.clean))
        pairs = sorted(row.clean[protocol].jobs)
        first = [min(pair for pair in pairs if pair[0] == train) for train in dict.fromkeys(pair[0] for pair in pairs)]
        spec = jobs.jobs[row.clean[protocol].jobs[first[0]]].spec
        assert isinstance(spec, JudgeSpec)
        sample = spec.selection.sampled(images)
        by_row[row.label] = [Subject(plan, jobs, row, seeds, sample, plain.get(row.label)) for seeds in first]
    return by_row


def _undefended(plan: Plan, jobs: DerivedJobs, rows: Sequence[RowPlan]) -> dict[str, RowPlan]:
    """Row label -> a row of a plain network on the same data and threat model: of the suite, or of its plan with that as
    its only defense. None where the suite trains no network, or a plain one cannot be trained as it says."""
    candidates = [row for row in plan.rows if row.facts["undefended"] and row.train]
    if len(candidates) == 0 and any(row.train for row in plan.rows):
        try:
            other = make_plan(_with_plain_network(plan.suite), jobs.registry, plan.hardware)
        except RobustStackError:  # BLACKBOX says that it did without.
            return {}
        jobs.adopt(other)
        candidates = list(other.rows)
    return {
        row.label: plain
        for row in rows
        for plain in reversed(candidates)
        if plain is not row and all(plain.facts[key] == row.facts[key] for key in ("variant", "threat"))
    }


def _with_plain_network(suite: Suite) -> Suite:
    # A plain network has no game, no ladder, and no protocol of another defense.
    evaluate = suite.evaluate.model_copy(update={"protocols": [HEADLINE], "ladder": False, "game": None})
    return suite.model_copy(
        update={"defenses": [DefensePart(name=UNDEFENDED)], "evaluate": evaluate, "claims": [], "figures": []}
    )
