"""All mistakes of a suite at once: if keys are wrong, names and options are looked at without those keys."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from robuststack.errors import Problems, SuiteError
from robuststack.plugin.registry import Registry
from robuststack.suite.loading import WrongKeys, suite_of
from robuststack.suite.resolve import Resolver
from robuststack.suite.suite import Suite
from robuststack.suite.yaml_source import YamlSource


@contextmanager
def all_mistakes(registry: Registry) -> Iterator[None]:
    """A block that loads a suite.

    Raises:
        SuiteError: what is wrong with its keys and, as far as they do not depend on these, with its names and options.
    """
    try:
        yield
    except WrongKeys as wrong:
        problems = Problems()
        problems.add(*wrong.errors, *_of_the_rest(wrong, registry))
        problems.raise_all()


def _of_the_rest(wrong: WrongKeys, registry: Registry) -> Sequence[SuiteError]:
    """What is wrong with a suite beside its wrong keys; nothing if it is no suite without them."""
    data = copy.deepcopy(wrong.source.data)
    for path in wrong.paths:
        # Whether anything trains, and what, depends on the model: without it all else would be about another defense.
        _leave_out(data, path[: path.index("model")] if path[:1] == ("defenses",) and "model" in path else path)
    try:
        suite = suite_of(YamlSource(data, wrong.source.marks), wrong.file)
    except SuiteError:
        return ()
    resolver = Resolver(suite, registry)
    try:
        resolver.cells(resolver.attacks())
    except SuiteError as error:
        return error.errors
    return ()


def _leave_out(data: dict[str, Any], path: Sequence[str | int]) -> None:
    """Delete the key at the path, or the nearest above it that was written. A misspelt section is taken for the one that is
    meant: without it, others would seem wrong."""
    value: Any = data
    holder: dict[str, Any] | None = None
    name = ""
    for part in path:
        if isinstance(part, int) and not isinstance(value, list):
            continue  # A list of one that was written without the list.
        if isinstance(value, dict) and part in value:
            holder, name = value, str(part)
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            break
    if holder is None or name not in holder:
        return
    left_out = holder.pop(name)
    if holder is data and name not in Suite.model_fields:
        meant = difflib.get_close_matches(name, [key for key in Suite.model_fields if key not in data], n=1)
        data |= dict.fromkeys(meant, left_out)
