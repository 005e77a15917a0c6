"""A component by its name, with its options: what every part of a suite is."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from robuststack.plugin.options import option
from robuststack.suite.section import Section

Sweep = dict[str, Annotated[list[Any], Field(min_length=1)]]


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class Part(Section):
    """A component by its name, with its options. A `sweep` lists values of options: one variant for each combination."""

    name: str = Field(description="The registered name; `robuststack list` shows them all.")
    options: dict[str, Any] = option({}, "The component's options; `robuststack show KIND NAME` explains them.")
    sweep: Sweep = option({}, "Option -> list of values; the product of all lists is run.")

    @field_validator("name")
    @classmethod
    def _without_options(cls, name: str) -> str:
        """Refuse a name with options behind it, as tables print them."""
        if "=" in name:
            plain, *written = name.split()
            options = ", ".join(word.replace("=", ": ", 1) for word in written)
            raise ValueError(f"{name!r} is a name with options; write {{name: {plain}, options: {{{options}}}}}")
        return name


One = Annotated[Part, BeforeValidator(_named, json_schema_input_type=str | Part)]


def _named_list(value: object) -> object:
    return [_named(part) for part in value] if isinstance(value, list) else [_named(value)]


def many(part: type[Part]) -> Any:
    return BeforeValidator(_named_list, json_schema_input_type=str | part | list[str | part])  # type: ignore[valid-type]
