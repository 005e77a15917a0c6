"""Errors a user can act on: one line that says what is wrong, where, and what would be valid."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class RobustStackError(Exception):
    """The base of every handled error. The command line prints it as one line and exits with `exit_code`."""

    exit_code = 2

    def __init__(self, message: object) -> None:
        # One line, whatever a library put into its own message.
        super().__init__(" ".join(str(message).split()))


class SuiteError(RobustStackError):
    """A suite file, or an override of one, does not say what it must."""

    @property
    def errors(self) -> tuple[SuiteError, ...]:
        """The single errors, each of one line."""
        return (self,)


class SuiteErrors(SuiteError):
    """Several errors of one suite, a line each."""

    def __init__(self, errors: Iterable[SuiteError]) -> None:
        super().__init__("")
        self._errors = tuple(errors)
        self.args = (self._errors,)

    @property
    def errors(self) -> tuple[SuiteError, ...]:
        return self._errors

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self._errors)


class Problems:
    """The errors of a suite, collected so that all are told at once; what is said twice is told once."""

    def __init__(self) -> None:
        self._errors: dict[str, SuiteError] = {}

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Go on behind the block if a part of the suite in it is wrong."""
        try:
            yield
        except SuiteError as caught:
            self.add(*caught.errors)

    def add(self, *errors: SuiteError) -> None:
        for error in errors:
            self._errors.setdefault(str(error), error)

    @property
    def all(self) -> list[SuiteError]:
        """What was collected, in the order of the file."""
        return sorted(self._errors.values(), key=_place)

    def raise_all(self) -> None:
        """
        Raises:
            SuiteError: what was collected, if anything was.
        """
        errors = self.all
        if errors:
            raise errors[0] if len(errors) == 1 else SuiteErrors(errors)


def _place(error: SuiteError) -> tuple[bool, str, int, int]:
    """For an order of errors: by file and line, those without one last."""
    mark = re.match(r"(.+?):(\d+):(\d+): ", str(error))
    return (False, mark[1], int(mark[2]), int(mark[3])) if mark else (True, "", 0, 0)


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


class BundleError(RobustStackError):
    """A bundle cannot be made, or a file is no bundle or has been changed."""


class JobFailed(RobustStackError):
    """One job failed for a reason of its own (a loss that is not finite); the other jobs go on."""

    exit_code = 1
