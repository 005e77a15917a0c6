"""What holds for a component of any kind."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

from robuststack.plugin.component import Component
from robuststack.plugin.options import Options, describe
from robuststack.plugin.registry import Registration, Registry
from robuststack.testing.importing import heavy_imports


@cache
def _installed(path: tuple[str, ...]) -> Registry:
    """Read once for each state of the import path, not once for each check."""
    return Registry()


class ComponentConformance:
    """The base of the four kits: finds the component, and checks how it registers and documents itself."""

    kind: ClassVar[str]
    component: ClassVar[str]
    """The registered name; for a family, a name of it with values filled in."""
    options: ClassVar[Mapping[str, Any]] = {}
    """Options to check it with: those that it requires, or that make it quick."""

    @classmethod
    def registry(cls) -> Registry:
        """Where the component is looked up: by default in all installed plugins."""
        return _installed(tuple(sys.path))

    @classmethod
    def registration(cls) -> Registration:
        return cls.registry().find(cls.kind, cls.component)

    @classmethod
    def create(cls, kind: str = "", name: str = "", options: Mapping[str, Any] | None = None) -> Any:
        """A new instance: of the component, or of another."""
        if not kind:
            return cls.registry().create(cls.kind, cls.component, cls.options)
        return cls.registry().create(kind, name, options)

    def documented(self) -> list[type[Options]]:
        """The models whose fields users write."""
        return [type(self.create()).Options]

    def test_it_says_what_it_is(self) -> None:
        """`robuststack list` prints the first line of the docstring."""
        cls = type(self.create())
        own = cls.__dict__.get("__doc__") or ""
        assert own.strip(), f"{cls.__name__} has no docstring; its first line is what `robuststack list` prints"
        assert cls.summary().endswith("."), f"the first line of the docstring is no sentence: {cls.summary()!r}"

    def test_every_option_has_a_type_a_default_and_a_description(self) -> None:
        """`robuststack show` and the editor's completion are made of them."""
        for model in self.documented():
            assert issubclass(model, Options), f"{model.__name__} is no robuststack.Options: unknown keys would pass"
            for option in describe(model):
                where = f"{model.__qualname__}.{option['name']}"
                assert option["description"].endswith("."), f"{where} has no description, or one that is no sentence"
                assert option["default"] != "(required)", f"{where} has no default"
                assert option["type"] not in ("any", ""), f"{where} has no type"

    def test_a_job_can_make_it_again_from_what_it_wrote_down(self) -> None:
        """A job holds the component as JSON; a later run makes it from that."""
        component: Component = self.create()
        held = json.loads(json.dumps(component.resolved()))
        options = {**held["options"], **held.get("places", {})}
        again = self.create(self.kind, held["name"], options).resolved()
        assert json.loads(json.dumps(again)) == held, "its options do not survive JSON, or its fingerprint changes"

    def test_registering_and_importing_it_imports_no_torch(self) -> None:
        """`robuststack list`, `check` and `plan` answer at once: heavy packages are imported inside methods."""
        heavy = heavy_imports(self.registration(), self.registry())
        assert not heavy, f"{', '.join(heavy)}: import it inside the methods that use it"
