"""What a verification says of a bundle."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Word = Literal["disagrees", "consistent", "re-judged"]


@dataclass
class Verification:
    """What was found of a bundle, a line for each question."""

    file: Path
    sha256: str
    """The hash of the file."""
    suite: str
    agreed: list[str] = field(default_factory=list)
    """What agrees."""
    unchecked: list[str] = field(default_factory=list)
    """What was not checked, and why."""
    disagreements: list[str] = field(default_factory=list)
    """What contradicts what, in the bundle or beside the data and the models, a line each."""
    judged_again: bool = False
    """Whether a share of the images of every judge job was judged again."""

    @property
    def verdict(self) -> Word:
        """`disagrees`, if anything does; `re-judged`, if the weights and the data gave the same labels again for a share of
        the images of every judge job; else `consistent`: what the bundle says of itself fits together."""
        if self.disagreements:
            return "disagrees"
        return "re-judged" if self.judged_again else "consistent"

    def settle(self, question: str, problems: list[str]) -> None:
        """Keep what a question came to."""
        self.disagreements += problems
        if not problems:
            self.agreed.append(question)
