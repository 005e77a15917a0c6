"""Errors a user can act on: one line that says what is wrong, where, and what would be valid."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RobustStackError(Exception):
    """The base of every handled error. The command line prints it as one line and exits with `exit_code`."""

    exit_code = 2

    def __init__(self, message: object) -> None:
        # One line, whatever a library put into its own message.
        super().__init__(" ".join(str(message).split()))


class SuiteError(RobustStackError):
    """A suite file, or an override of one, does not say what it must."""


class PluginError(RobustStackError):
    """A plugin is missing, broken, ambiguous, or breaks its contract."""


class ModelError(RobustStackError):
    """A model cannot be evaluated: weights of another network, no logits, no gradients where they are needed."""


class DatasetError(RobustStackError):
    """A data set is absent, damaged, or outside [0, 1]."""


class StoreError(RobustStackError):
    """The store cannot be read or written, or another run holds a part of it."""


class LeaderboardError(RobustStackError):
    """A leaderboard file cannot be used."""


class JobFailed(RobustStackError):
    """One job failed for a reason of its own (a loss that is not finite); the other jobs go on."""

    exit_code = 1


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest valid ones first, or all of them."""
    choices = sorted(choices)
    near = difflib.get_close_matches(str(name), choices, n=3, cutoff=0.55)
    if near:
        return f"did you mean {' or '.join(repr(one) for one in near)}?"
    return f"valid: {', '.join(choices)}" if choices else "there are none"
