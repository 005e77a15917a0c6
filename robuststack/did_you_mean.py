"""What an unknown name was meant to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest valid ones first, or all of them."""
    choices = sorted(choices)
    near = [choice for choice in choices if choice.casefold() == str(name).casefold()][:1]
    near = near or _close(str(name), choices, 3, 0.55)
    if near:
        return f"did you mean {' or '.join(repr(match) for match in near)}?"
    return f"valid: {', '.join(choices)}" if choices else "there are none"


def is_near(name: str, choices: Iterable[str]) -> bool:
    """Whether a name is all but one of the choices: a letter or two are other ones."""
    return bool(_close(name.casefold(), list(choices), 1, 0.75))


def _close(name: str, choices: Sequence[str], most: int, cutoff: float) -> list[str]:
    import difflib  # Every command could need it, and hardly one does.

    return difflib.get_close_matches(name, choices, n=most, cutoff=cutoff)
