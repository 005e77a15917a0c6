"""From a suite file to a `Suite`: bases, overrides, and names that are taken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from robuststack.errors import SuiteError
from robuststack.plugin.options import InvalidOptions, parse
from robuststack.suite.report import listed
from robuststack.suite.suite import Suite
from robuststack.suite.yaml_source import YamlSource, merge, override, read


def load_suite(path: str | Path, overrides: Sequence[str] = ()) -> Suite:
    """Read a suite file, what it extends, and `KEY=VALUE` overrides.

    Raises:
        SuiteError: with file, line and column, what is wrong and what would be valid.
    """
    file = Path(path)
    source = _extended(file, ())
    for assignment in overrides:
        changed = override(source, assignment)
        if changed[0] == "extends":
            raise SuiteError(f"--set {assignment}: a suite's base is chosen in its file, not by --set")
        _let_win(source, changed)
    source.data["name"] = source.data.get("name") or file.stem
    _refuse_namesakes(file, str(source.data["name"]))
    return suite_of(source, file, overrides)


def suite_of(source: YamlSource, file: Path, overrides: Sequence[str] = ()) -> Suite:
    """The suite that a source says, its overrides applied; `file` is what its leaderboard is known by.

    Raises:
        SuiteError: with the mark of what is wrong.
    """
    try:
        suite = parse(Suite, source.data)
    except InvalidOptions as error:
        raise SuiteError(f"{source.where(error.path) or file}: {error}") from None
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
    base = _extended(base_file, (*seen, file.resolve()))
    base.data.pop("name", None)  # A suite does not inherit the name: two leaderboards would overwrite each other.
    return merge(base, source)


def _let_win(source: YamlSource, path: tuple[str | int, ...]) -> None:
    """What `--set` says of the whole suite's recipe or threat also replaces what single datasets and defenses say."""
    section, keys = path[0], [part for part in path[1:] if isinstance(part, str)][:1]
    if section not in ("train", "threat"):
        return
    if not keys:
        keys = [key for one in listed(source.data[section]) if isinstance(one, dict) for key in one]
    for kind in ("datasets", "defenses"):
        parts = source.data.get(kind)
        for part in parts if isinstance(parts, list) else [parts]:
            own = part.get(section) if isinstance(part, dict) else None
            if isinstance(own, dict):
                for key in keys:
                    own.pop(key, None)


def _refuse_namesakes(file: Path, name: str) -> None:
    for other in sorted(file.parent.glob("*.y*ml")):
        if other.resolve() == file.resolve() or not other.is_file():
            continue
        written = re.search(
            r"^name:\s*[\"']?([\w.-]+)", other.read_text(encoding="utf-8", errors="replace"), re.MULTILINE
        )
        if (written[1] if written else other.stem) == name:
            raise SuiteError(f"{file}: {other} is a suite named {name!r} too; give one of them another `name:`")
