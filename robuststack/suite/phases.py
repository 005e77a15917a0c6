"""The phases of a defense's training, each with the recipe that it comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robuststack.did_you_mean import did_you_mean
from robuststack.errors import PluginError
from robuststack.plugin.defense import Defense
from robuststack.plugin.options import InvalidOptions, parse
from robuststack.plugin.phase import Phase
from robuststack.suite.recipe import PhaseRecipe, Recipe, merged, misplaced


@dataclass(frozen=True)
class PlannedPhase:
    """A phase, and how it is trained."""

    phase: Phase
    recipe: PhaseRecipe


def planned_phases(defense: Defense, recipe: Recipe) -> Sequence[PlannedPhase]:
    """The phases that a train job goes through, in order: one without a name for a defense that has none.

    `recipe` is a job's: it holds every key of each phase.
    """
    phases = defense.phases(recipe.shared)
    if not phases:
        return [PlannedPhase(Phase("", trainer=defense), recipe.shared)]
    return [PlannedPhase(phase, recipe.phases[phase.name]) for phase in phases]


def with_phases(defense: Defense, recipe: Recipe, written: Mapping[str, Any], sections: Sequence[Recipe]) -> Recipe:
    """The recipe with that of each phase, whole: what its trainer changes of the defaults, then the keys `written` for all
    phases, then what the phase changes, then what the `sections` of the suite write for it; the later win.

    `sections` are the defense's own and those of the suite, the strongest first. Phases that others than the defense's own
    section name may be another defense's.

    Raises:
        PluginError: the defense declares phases that cannot be; InvalidOptions: keys of a phase that do not exist or do not
            fit together, with their path from the recipe.
    """
    phases = checked(defense, recipe.shared)
    names = [phase.name for phase in phases]
    unknown = next((name for name in sections[0].phases if name not in names), None)
    if unknown is not None:
        raise InvalidOptions(_no_such_phase(defense, unknown, names), ("phases", unknown))
    recipes: dict[str, PhaseRecipe] = {}
    for phase in phases:
        given = [section.phases[phase.name].written() for section in sections if phase.name in section.phases]
        own = {key: value for keys in reversed(given) for key, value in keys.items()}
        wanted = merged(merged(merged(phase.trainer.recipe(), written), phase.recipe), own)
        other = misplaced(wanted, own)
        if other:
            key, message = other
            raise InvalidOptions(f"phase {phase.name!r}: {message}", ("phases", phase.name, key))
        try:
            recipes[phase.name] = parse(PhaseRecipe, wanted)
        except InvalidOptions as error:
            raise error.within(f"phase {phase.name!r}", "phases", phase.name) from None
    return recipe.model_copy(update={"phases": recipes}) if recipes else recipe


def phases_of_none(defenses: Sequence[Defense], section: Recipe) -> dict[str, str]:
    """The phases of a section that none of the defenses has, and what to say of each."""
    names = {phase.name for defense in defenses for phase in defense.phases(section.shared)}
    unknown = [name for name in section.phases if name not in names]
    return {
        name: f"no defense of this suite has a phase {name!r}; "
        + (did_you_mean(name, names) if names else "each trains in one phase")
        for name in unknown
    }


def checked(defense: Defense, recipe: PhaseRecipe) -> Sequence[Phase]:
    """The phases of a defense.

    Raises:
        PluginError: two have one name, one starts from no earlier phase, or one is trained by what does not train.
    """
    phases = defense.phases(recipe)
    earlier: list[str] = []
    for phase in phases:
        where = f"defense {defense.name!r}, phase {phase.name!r}"
        if not phase.name.isidentifier():
            raise PluginError(f"{where}: its name must be a word of letters, digits and underscores")
        if phase.name in earlier:
            raise PluginError(f"{where}: two phases have this name")
        if phase.parent is not None and phase.parent not in earlier:
            valid = f"valid: {', '.join(earlier)}" if earlier else "it is the first, and can have none"
            raise PluginError(f"{where}: its parent {phase.parent!r} is no earlier phase; {valid}")
        if not phase.trainer.trains or (phase.trainer is not defense and phase.trainer.phases(recipe)):
            raise PluginError(f"{where}: its trainer {type(phase.trainer).__name__} has no training step of its own")
        earlier.append(phase.name)
    return phases


def _no_such_phase(defense: Defense, name: str, names: Sequence[str]) -> str:
    if not names:
        return f"defense {defense.name!r} trains in one phase, so it has no phase {name!r}; leave `phases` out"
    return f"defense {defense.name!r} has no phase {name!r}: {did_you_mean(name, names)}"
