"""YAML with the file, line and column of every key, with `extends` and `--set` merged in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from robuststack.errors import SuiteError

SUITE_FILES = (".yaml", ".yml")
"""How the names of suite files end."""

Path_ = tuple[str | int, ...]


MERGE = "tag:yaml.org,2002:merge"
MOST_PARTS = 50_000
"""Keys and values of a file, its aliases unfolded: ten lines of aliases can stand for more than any memory holds."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML with the scalars of YAML 1.2's core schema (section 10.3.2 of its specification), and `<<`.

    PyYAML's own are of YAML 1.1, where `no` is false, `010` is 8, `1:30` is 90, `1e-3` is a text and a date is no text.
    """

    yaml_implicit_resolvers: ClassVar[dict[str | None, list[tuple[str, re.Pattern[str]]]]] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.merged: dict[yaml.MappingNode, list[tuple[Any, Any]]] = {}
        """What each mapping comes to with what it merges: looked up once, however often others merge it."""

    def integer(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        # Python refuses to read thousands of digits, in words about itself.
        value = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10)) if len(text) < 100 else 2**64
        if not -(2**63) <= value < 2**63:  # What torch and numpy can count with.
            raise ValueError(f"{text[:24]}{'...' if len(text) > 24 else ''} is an integer of more than 64 bits")
        return value

    def real(self, node: yaml.ScalarNode) -> float:
        # `.inf` and `.nan` are written with a point, which Python's own words for them lack.
        text = str(self.construct_scalar(node)).lower()
        return float(text.replace(".", "") if text.endswith(("inf", "nan")) else text)

    def boolean(self, node: yaml.ScalarNode) -> bool:
        text = str(self.construct_scalar(node)).lower()
        if text not in ("true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        return text == "true"

    def plain(self, node: yaml.ScalarNode) -> str:
        return str(self.construct_scalar(node))


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
     list("-+.0123456789")),
    ("merge", "<<", ["<"]),
):  # fmt: skip
    # The first that matches wins: what is an integer is no float.
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.real)
_Loader.add_constructor("tag:yaml.org,2002:bool", _Loader.boolean)
_Loader.add_constructor(MERGE, _Loader.plain)  # `<<` that is no key.


@dataclass
class YamlSource:
    """Plain data, and where each part of it was written: path of keys -> `file:line:column`."""

    data: dict[str, Any]
    marks: dict[Path_, str] = field(default_factory=dict)

    def where(self, path: Iterable[str | int]) -> str:
        """The mark of `path`, or of the nearest part above it that was written."""
        at = self.written(path)
        while at and at not in self.marks:
            at = at[:-1]
        return self.marks.get(at, "")

    def written(self, path: Iterable[str | int]) -> Path_:
        """As much of `path` as was written: without its place in a list of one that the file wrote without the list
        (`datasets: digits`)."""
        at: Path_ = ()
        value: Any = self.data
        for part in path:
            if isinstance(part, int) and not isinstance(value, list):
                continue
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                # An unknown key of the model is a known key of the file; a missing one is not.
                break
            at = (*at, part)
        return at


def read(path: Path) -> YamlSource:
    """Read a YAML mapping.

    Raises:
        SuiteError: no such file, not YAML (with line and column), not a mapping, or a key written twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = sorted(entry.name for entry in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        raise SuiteError(f"{path}: no such file{'; there: ' + ', '.join(near) if near else ''}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path}: cannot be read: {error}") from None
    return parsed(text, str(path))


def parsed(text: str, name: str) -> YamlSource:
    """The YAML mapping in a text; errors call it by `name`.

    Raises:
        SuiteError: not YAML (with line and column), not a mapping, or a key written twice.
    """
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            source = YamlSource({})
            data = _construct(loader, root, (), name, source.marks) if root is not None else {}
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise SuiteError(f"{name}{at}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise SuiteError(f"{name}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise SuiteError(f"{name}: a suite is a mapping of keys, not {type(data).__name__}")
    source.data = data
    return source


def _pairs(loader: _Loader, node: yaml.MappingNode, above: tuple[Any, ...]) -> list[tuple[Any, Any]]:
    """The keys of a mapping, then those of the mappings it merges (`<<: *base`) that it does not write itself."""
    if node in loader.merged:
        return loader.merged[node]
    pairs = [(key, value) for key, value in node.value if key.tag != MERGE]
    written = {key.value for key, _ in pairs}
    for _, value in (pair for pair in node.value if pair[0].tag == MERGE):
        for base in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if not isinstance(base, yaml.MappingNode) or base in above:
                raise yaml.MarkedYAMLError(problem="`<<` merges another mapping", problem_mark=base.start_mark)
            for key, merged in _pairs(loader, base, (*above, base)):
                if key.value not in written:
                    written.add(key.value)
                    pairs.append((key, merged))
    loader.merged[node] = pairs
    return pairs


def _construct(
    loader: _Loader, node: Any, at: Path_, file: str, marks: dict[Path_, str], above: tuple[Any, ...] = ()
) -> Any:
    if node in above:
        raise yaml.MarkedYAMLError(problem="a part contains itself", problem_mark=node.start_mark)
    if len(marks) > MOST_PARTS:
        problem = f"with its aliases unfolded, the file has more than {MOST_PARTS:,} keys and values"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    above = (*above, node)
    marks[at] = f"{file}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in _pairs(loader, node, above):
            # As it is written: `010` and `true` are names here.
            key = str(key_node.value if isinstance(key_node, yaml.ScalarNode) else loader.construct_object(key_node))
            if key in result:
                raise yaml.MarkedYAMLError(problem=f"key {key!r} is written twice", problem_mark=key_node.start_mark)
            result[key] = _construct(loader, value_node, (*at, key), file, marks, above)
            marks[(*at, key)] = f"{file}:{key_node.start_mark.line + 1}:{key_node.start_mark.column + 1}"
        return result
    if isinstance(node, yaml.SequenceNode):
        return [
            _construct(loader, element, (*at, index), file, marks, above) for index, element in enumerate(node.value)
        ]
    try:
        return loader.construct_object(node)
    except ValueError as error:  # A tag that does not fit: `!!int some`.
        raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None


def merge(base: YamlSource, top: YamlSource) -> YamlSource:
    """`top` over `base`: mappings are merged key by key, everything else is replaced whole."""
    marks = dict(base.marks)
    data = _merge(base.data, top.data, (), marks, top.marks)
    return YamlSource(data, marks)


def _merge(base: Any, top: Any, at: Path_, marks: dict[Path_, str], top_marks: dict[Path_, str]) -> Any:
    if isinstance(base, dict) and isinstance(top, dict):
        if at in top_marks:
            marks[at] = top_marks[at]  # What is missing in both is missing in the file that was named.
        merged = dict(base)
        for key, value in top.items():
            merged[key] = _merge(base.get(key), value, (*at, key), marks, top_marks)
        return merged
    for old in [path for path in marks if path[: len(at)] == at]:
        del marks[old]
    marks.update({path: mark for path, mark in top_marks.items() if path[: len(at)] == at})
    return top


def override(source: YamlSource, assignment: str) -> tuple[str | int, ...]:
    """Apply `a.b.0.c=value` (the value is YAML) in place; return the path.

    Raises:
        SuiteError: the assignment has no `=`, its value is not YAML, or its path leads through a value or past a list.
    """
    key, sign, text = assignment.partition("=")
    mark = f"--set {assignment}"
    if not sign or not key.strip():
        raise SuiteError(f"{mark}: write KEY=VALUE, for example --set train.epochs=3")
    value = value_of(text, mark)
    names = key.strip().split(".")
    parts: Path_ = ()
    created: list[Path_] = []
    target: Any = source.data
    for position, name in enumerate(names):
        here = ".".join(names[:position])
        part: str | int = int(name) if isinstance(target, list) and name.isdecimal() else name
        parts = (*parts, part)
        if isinstance(target, list):
            if not isinstance(part, int):
                raise SuiteError(f"{mark}: {here} is a list; name one of its places, for example {here}.0.{part}")
            if not target:
                raise SuiteError(f"{mark}: {here} is an empty list; replace it whole, for example {here}=[...]")
            if part >= len(target):
                raise SuiteError(f"{mark}: {here} has {len(target)} entries, the last is {here}.{len(target) - 1}")
        elif not isinstance(target, dict):
            raise SuiteError(f"{mark}: {here} is {target!r}, which has no keys")
        if position == len(names) - 1:
            target[part] = value
        else:
            if isinstance(target, dict) and target.get(part) is None:
                target[part] = {}
                created.append(parts)
            target = target[part]
    for old in [path for path in source.marks if path[: len(parts)] == parts]:
        del source.marks[old]
    source.marks.update(dict.fromkeys([*created, parts], mark))
    return parts


def value_of(text: str, mark: str) -> Any:
    """A value as a suite would write it.

    Raises:
        SuiteError: with `mark`, where it is not YAML.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return None if node is None else _construct(loader, node, (), mark, {})
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or error
        raise SuiteError(f"{mark}: the value is not valid YAML: {problem}") from None
    finally:
        loader.dispose()


def in_yaml(text: str) -> str:
    """A text as a suite would write it among others in braces: in quotes, if without it would be something else."""
    try:
        plain = value_of(f"{{key: {text}}}", "") == {"key": text}
    except SuiteError:
        plain = False
    return text if plain else json.dumps(text, ensure_ascii=False)
