"""What defenses do alike whose one network goes from a clean end to a robust one by a knob `lambda`."""

from __future__ import annotations

from pydantic import Field

import robuststack as rs

PUBLISHED = (0.0, 0.2, 0.7, 1.0)
"""The settings that OAT and FLOAT were published at."""


class BetweenTwoEnds(rs.Defense):
    """A defense whose knob `lambda` is 0 at the clean end and 1 at the robust end."""

    class Knobs(rs.Options):
        lambda_: float = Field(1.0, alias="lambda", ge=0, le=1, description="0 is the clean end, 1 the robust end.")

    def operating_points(self) -> list[rs.Point]:
        return [{"lambda": value} for value in PUBLISHED]

    def image_passes(self, steps: int) -> float:
        """Of a step that trains on the whole batch clean, and on the whole batch adversarial."""
        return 3.0 + 3.0 + 2.0 * steps
