"""What an unknown name was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest valid ones first, or all of them."""
    choices = sorted(choices)
    near = [choice for choice in choices if choice.casefold() == str(name).casefold()][:1]
    near = near or difflib.get_close_matches(str(name), choices, n=3, cutoff=0.55)
    if near:
        return f"did you mean {' or '.join(repr(match) for match in near)}?"
    return f"valid: {', '.join(choices)}" if choices else "there are none"


def is_near(name: str, choices: Iterable[str]) -> bool:
    """Whether a name is all but one of the choices: a letter or two are other ones."""
    return bool(difflib.get_close_matches(name.casefold(), list(choices), n=1, cutoff=0.75))
