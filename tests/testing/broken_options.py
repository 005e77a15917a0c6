"""Options that break their contract, for any kind of component."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

import robuststack as rs


class Loose(BaseModel):
    steps: int = 1


class Undescribed(rs.Options):
    steps: int = 1


class Required(rs.Options):
    steps: int = Field(description="Steps.")


class Untyped(rs.Options):
    steps: Any = rs.option(1, "Steps.")


class Text(rs.Options):
    steps: int = rs.option(1, "Steps.")

    def resolved(self):
        return {"steps": "one"}


class LooseKnobs(rs.Options):
    model_config = ConfigDict(extra="ignore")
    scale: float = rs.option(0.1, "Scale of the noise.")


ANY = [
    ("it_says_what_it_is", {"__doc__": ""}, "has no docstring"),
    ("it_says_what_it_is", {"__doc__": "no sentence"}, "is no sentence: 'no sentence'"),
    (
        "every_option_has_a_type_a_default_and_a_description",
        {"Options": Undescribed},
        "Undescribed.steps has no descript",
    ),
    ("every_option_has_a_type_a_default_and_a_description", {"Options": Untyped}, "Untyped.steps has no type"),
    ("every_option_has_a_type_a_default_and_a_description", {"Options": Loose}, "Loose is no robuststack.Options"),
    ("a_job_can_make_it_again_from_what_it_wrote_down", {"Options": Text}, "option 'steps'|must be a valid integer"),
]
