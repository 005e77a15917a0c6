"""What a check says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

Word = Literal["holds", "weak", "broken", "open", "none"]
SEVERITY: tuple[Word, ...] = ("none", "holds", "open", "weak", "broken")
"""The words, the gravest last."""
BADGES: dict[Word, str] = {"holds": "H", "weak": "W", "broken": "B", "open": "O", "none": "-"}


class Verdict(BaseModel):
    """What a check says of a row.

    `holds`; `weak`: a stronger attack lowers the figure; `broken`: a contradiction; `open`: it cannot be told from these
    images; `none`: the check does not apply.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    check: str
    verdict: Word
    figure: float | None = None
    """What was measured; `text` says in which unit."""
    threshold: float | None = None
    """What the figure was held against, in the same unit."""
    text: str
    """The reason in words, with the figure and the threshold."""
    jobs: tuple[str, ...] = ()
    """The jobs behind it."""

    @property
    def badge(self) -> str:
        """One letter for a table's cell."""
        return BADGES[self.verdict]


def gravest(verdicts: Sequence[Verdict]) -> Verdict:
    """The gravest of several verdicts of one check, the first of those."""
    return max(verdicts, key=lambda verdict: SEVERITY.index(verdict.verdict))
