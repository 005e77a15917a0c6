"""Variants of a suite's parts: one combination of a sweep each, and how labels tell them apart."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robuststack.plugin.options import marked
from robuststack.suite.part import Part
from robuststack.suite.recipe import PhaseRecipe, Recipe
from robuststack.wording import component_text


@dataclass(frozen=True)
class Variant:
    """A component with one combination of its sweep, and where the suite names it."""

    component: Any
    part: Any
    path: tuple[str | int, ...]
    swept: Mapping[str, Any]

    def named(self, siblings: Sequence[Part]) -> str:
        """The component in a label: what tells it apart from the other variants in the suite, and no more."""
        twice = self._twice(siblings)
        told = {**(self.shown if twice else self.swept), **self.recipe(siblings)}
        return component_text(self.component.name, {**told, **self.made_up})

    def recipe(self, siblings: Sequence[Part]) -> dict[str, Any]:
        """The keys of a recipe that tell it apart from others of its name."""
        own = getattr(self.part, "train", None)
        return shown_recipe(own, written(own)) if self._twice(siblings) and own else {}

    @property
    def made_up(self) -> dict[str, int]:
        """How many images of a split stand in for a dataset's own; empty where they are its own."""
        count = getattr(self.part, "stand_in", None)
        return {"stand_in": count} if count else {}

    def _twice(self, siblings: Sequence[Part]) -> bool:
        return [other.name for other in siblings].count(self.part.name) > 1

    @property
    def shown(self) -> dict[str, Any]:
        """The options worth printing: what the suite wrote, and what the component marks as always shown; and the model,
        where the user brings one."""
        resolved = self.component.options.resolved()
        always = marked(self.component.options, "shown")
        given = getattr(self.part, "model", None)
        return {
            **{
                key: resolved[key] for key in resolved if key in always or key in self.part.options or key in self.swept
            },
            **({"model": given.text} if given else {}),
        }


@dataclass(frozen=True)
class Training:
    """A cell's recipe, and the sections of the suite it comes from, the strongest first, with their paths."""

    recipe: Recipe
    sections: tuple[tuple[Recipe, tuple[str | int, ...]], ...]

    def place(self, key: str, *inside: str | int) -> tuple[str | int, ...]:
        """Where the suite writes `key`, and what is `inside` of it: a phase, and a key of that."""
        written = (path for section, path in self.sections if _writes(section, key, *inside))
        return (*next(written, self.sections[-1][1]), key, *inside)


def _writes(section: Recipe, key: str, *inside: str | int) -> bool:
    if key != "phases" or not inside:
        return key in section.model_fields_set
    name, *keys = inside
    return name in section.phases and section.phases[str(name)].model_fields_set.issuperset(map(str, keys[:1]))


def written(section: Recipe) -> dict[str, Any]:
    """What a section of a suite writes, as labels name it: key -> value, and `phase.key` -> value."""
    keys = section.written()
    phases = keys.pop("phases", {})
    return {**keys, **{f"{name}.{key}": value for name, of in phases.items() for key, value in of.items()}}


def differing(sections: Sequence[Recipe]) -> set[str]:
    """The keys in which sections differ, those of phases as `phase.key`."""
    shared = Recipe.model_fields.keys() - {"phases"}
    values = [{**written(section), **{key: getattr(section, key) for key in shared}} for section in sections]
    return {key for keys in values for key in keys if any(other.get(key) != keys[key] for other in values)}


def shown_recipe(recipe: Recipe, keys: Collection[str]) -> dict[str, Any]:
    """Some keys of a recipe, as labels show them; a key of a phase is `phase.key`."""
    shown = {key: getattr(recipe, key) for key in Recipe.model_fields if key in keys}
    for name, of in recipe.phases.items():
        shown |= {f"{name}.{key}": getattr(of, key) for key in PhaseRecipe.model_fields if f"{name}.{key}" in keys}
    if "attack" in shown:
        shown["attack"] = component_text(recipe.attack.name, recipe.attack.options).replace(" ", ",")
    return shown
