"""From a suite file to a `Suite`: bases, overrides, and names that are taken."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from robuststack.errors import Problems, SuiteError, SuiteErrors
from robuststack.paths import expanded
from robuststack.plugin.options import InvalidOptions, parse
from robuststack.suite.report import listed
from robuststack.suite.suite import BOARD_NAME, Suite
from robuststack.suite.yaml_source import YamlSource, merge, override, parsed, read

SECTIONS = {"extends", "datasets", "defenses", "attacks"}
"""A YAML file with none of these keys is no suite."""


class WrongKeys(SuiteErrors):
    """Keys of a suite are wrong, at the paths; names and options have not been looked at yet."""

    def __init__(
        self, errors: Iterable[SuiteError], source: YamlSource, file: Path, paths: Sequence[tuple[str | int, ...]]
    ) -> None:
        super().__init__(errors)
        self.source, self.file, self.paths = source, file, paths

    def __reduce__(self) -> tuple[type[SuiteErrors], tuple[Any, ...]]:
        return SuiteErrors, self.args


def load_suite(path: str | Path, overrides: Sequence[str] = ()) -> Suite:
    """Read a suite file, what it extends, and `KEY=VALUE` overrides.

    Raises:
        SuiteError: with file, line and column, what is wrong and what would be valid.
    """
    file = expanded(path)
    extended = _extended(file, ())
    if not extended.data:
        raise SuiteError(f"{file}: is empty; a suite has at least the keys datasets, defenses and attacks")
    source = _overridden(extended, file, overrides)
    namesakes = list(_namesakes(file, str(source.data["name"])))
    try:
        suite = suite_of(source, file, overrides)
    except WrongKeys as wrong:
        raise WrongKeys([*wrong.errors, *namesakes], source, file, wrong.paths) from None
    if namesakes:
        raise WrongKeys(namesakes, source, file, [("name",)])
    return suite


def suite_texts(file: Path) -> dict[str, str]:
    """The text of a suite file that was read before, then of those it extends: path from its folder -> text."""
    folder, texts = file.parent, {}
    while True:
        text = file.read_text(encoding="utf-8")
        texts[Path(os.path.relpath(file, folder)).as_posix()] = text
        base = parsed(text, str(file)).data.get("extends")
        if base is None:
            return texts
        file = file.parent / base


def suite_from_texts(texts: Mapping[str, str], overrides: Sequence[str] = ()) -> Suite:
    """The suite that `suite_texts` gave the texts of, without a look at its files.

    Raises:
        SuiteError: as from `load_suite`.
    """
    source = YamlSource({})
    for name, text in reversed(list(texts.items())):
        source = _on_top(source, parsed(text, name))
    file = Path(next(iter(texts)))
    return suite_of(_overridden(source, file, overrides), file, overrides)


def _overridden(source: YamlSource, file: Path, overrides: Sequence[str]) -> YamlSource:
    """What a suite's file says, with the overrides applied and with a name."""
    radius_said = False
    for assignment in overrides:
        norms = _norms(source.data)
        changed = override(source, assignment)
        if changed[0] == "extends":
            raise SuiteError(f"--set {assignment}: a suite's base is chosen in its file, not by --set")
        _let_win(source, changed)
        if changed[0] == "threat":
            radius_said |= "norm" not in changed and bool(_radii(source.data))
            if _norms(source.data) != norms and not radius_said:
                _drop_radii(source.data)
    source.data["name"] = source.data.get("name") or board_name(file.stem)
    return source


def suite_from(content: Mapping[str, Any], overrides: Sequence[str] = ()) -> Suite:
    """A suite from the keys of a suite file as a dictionary; its `name` is `suite` unless it says otherwise.

    Raises:
        SuiteError: with the key, what is wrong and what would be valid.
    """
    source = YamlSource(copy.deepcopy(dict(content)), {(): "suite"})
    if source.data.get("extends") is not None:
        raise SuiteError("suite: extends: a dictionary extends no file; load one with load_suite")
    for assignment in overrides:
        if override(source, assignment)[0] == "extends":
            raise SuiteError(f"--set {assignment}: a suite's base is chosen in its file, not by --set")
    name = source.data.setdefault("name", "suite")
    return suite_of(source, Path(str(name)), overrides)


def board_name(text: str) -> str:
    """What a leaderboard is named after a file or a model: `my suite (2)` gives `my-suite-2`."""
    if re.fullmatch(BOARD_NAME, text):
        return text
    return re.sub(r"[^\w.-]+", "-", text).strip("-._") or "suite"


def assignments(overrides: str | Sequence[str] | None) -> tuple[str, ...]:
    """Overrides as a program gives them: one `KEY=VALUE`, several, or None."""
    return (overrides,) if isinstance(overrides, str) else tuple(overrides or ())


def suite_of(source: YamlSource, file: Path, overrides: Sequence[str] = ()) -> Suite:
    """The suite that a source says, its overrides applied; `file` is what its leaderboard is known by.

    Raises:
        SuiteError: with the mark of what is wrong.
    """
    try:
        suite = parse(Suite, source.data)
    except InvalidOptions as error:
        problems = Problems()
        problems.add(*(SuiteError(f"{source.where(problem.path) or file}: {problem}") for problem in error.all))
        raise WrongKeys(problems.all, source, file, [problem.path for problem in error.all]) from None
    suite._source, suite._file, suite._overrides = source, file, tuple(overrides)
    return suite


def _extended(file: Path, seen: tuple[Path, ...]) -> YamlSource:
    source = read(file)
    if file.resolve() in seen:
        raise SuiteError(f"{source.where(('extends',))}: {file} extends itself")
    base_name = source.data.get("extends")
    if base_name is None:
        return source
    if not isinstance(base_name, str):
        raise SuiteError(f"{source.where(('extends',))}: extends: must be a file name, not {base_name!r}")
    base_file = file.parent / base_name
    if not base_file.is_file():
        raise SuiteError(f"{source.where(('extends',))}: extends: no such file: {base_file}")
    return _on_top(_extended(base_file, (*seen, file.resolve())), source)


def _on_top(base: YamlSource, source: YamlSource) -> YamlSource:
    """A suite with what it extends below it."""
    # It does not inherit the name or the title: two leaderboards would overwrite each other, or look alike.
    for key in ("name", "title"):
        base.data.pop(key, None)
    if "threat" in source.data and _norms(source.data) != _norms(base.data):
        _drop_radii(base.data)
    return merge(base, source)


def _threats(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The threat models that a suite's text names for all of its data sets, as far as they are dictionaries."""
    return [entry for entry in listed(data.get("threat")) if isinstance(entry, dict)]


def _norms(data: Mapping[str, Any]) -> list[Any]:
    return [entry.get("norm", "linf") for entry in _threats(data)] or ["linf"]


def _radii(data: Mapping[str, Any]) -> list[Any]:
    return [entry["eps"] for entry in _threats(data) if "eps" in entry]


def _drop_radii(data: Mapping[str, Any]) -> None:
    """Forget the radii, also those of single data sets: they are of another norm, in which the same number is another
    attack."""
    own = [part.get("threat") for part in listed(data.get("datasets")) if isinstance(part, dict)]
    for threat in [*_threats(data), *(entry for entry in own if isinstance(entry, dict))]:
        threat.pop("eps", None)


def _let_win(source: YamlSource, path: tuple[str | int, ...]) -> None:
    """What `--set` says of the whole suite's recipe or threat also replaces what single datasets and defenses say."""
    section, keys = path[0], [part for part in path[1:] if isinstance(part, str)][:1]
    if section not in ("train", "threat"):
        return
    if not keys:
        keys = [key for entry in listed(source.data[section]) if isinstance(entry, dict) for key in entry]
    for kind in ("datasets", "defenses"):
        parts = source.data.get(kind)
        for part in parts if isinstance(parts, list) else [parts]:
            own = part.get(section) if isinstance(part, dict) else None
            if isinstance(own, dict):
                for key in keys:
                    own.pop(key, None)


def _namesakes(file: Path, name: str) -> Iterator[SuiteError]:
    """What is wrong with two suites of one name beside each other: they would overwrite each other's leaderboard."""
    for other in sorted(file.parent.glob("*.y*ml")):
        if other.is_file() and other.resolve() != file.resolve() and _name_of(other, name) == name:
            yield SuiteError(f"{file}: {other} is a suite named {name!r} too; give one of them another `name:`")


def _name_of(file: Path, name: str) -> str | None:
    """The name of a suite file that may be named `name`; None if it is another one, or no suite (an environment of conda's,
    say, or a file of containers, which have a `name:` too)."""
    own = board_name(file.stem)
    try:
        if own != name and name not in file.read_text(encoding="utf-8"):
            return None  # It need not be read as YAML.
        data = read(file).data
    except (SuiteError, OSError, UnicodeDecodeError):
        return None
    return str(data.get("name") or own) if SECTIONS & data.keys() else None
