"""YAML that knows where each key was written, merged and overridden."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from robuststack.errors import SuiteError
from robuststack.suite.yaml_source import YamlSource, merge, override, read, value_of

# A prefix keeps YAML from reading a key as a boolean or a number.
keys = st.text("abc", min_size=1, max_size=2).map(lambda text: f"k{text}")
leaves = st.none() | st.booleans() | st.integers(-99, 99) | st.sampled_from([5e-4, 0.25, "8/255", "digits", "a b"])
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
mappings = st.dictionaries(keys, values, max_size=4)


def write(folder: Path, text: str, name: str = "suite.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def error_of(folder: Path, text: str) -> str:
    """The message about a file, without the folder."""
    with pytest.raises(SuiteError) as caught:
        read(write(folder, text))
    return str(caught.value).replace(f"{folder}/", "")


def at(data: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        data = data[part]
    return data


def places(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every key and every place of a list."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path] * bool(path) + [place for key, value in inner for place in places(value, (*path, key))]


def written_at(mark: str) -> str:
    """What a file holds from the marked line and column on."""
    file, line, column = mark.rsplit(":", 2)
    return Path(file).read_text().splitlines()[int(line) - 1][int(column) - 1 :]


def overlaid(base: Any, top: Any) -> Any:
    """What `merge` promises, in two lines."""
    both = isinstance(base, dict) and isinstance(top, dict)
    return {**base, **{key: overlaid(base.get(key), value) for key, value in top.items()}} if both else top


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("yaml")


@pytest.mark.parametrize(("text", "value"), [("5e-4", 5e-4), ("1e3", 1000.0), ("-2.5E+1", -25.0), (".5e1", 5.0)])
def test_a_number_with_an_exponent_is_a_number(tmp_path, text, value):
    assert read(write(tmp_path, f"lr: {text}")).data == {"lr": value}


@pytest.mark.parametrize("text", ["e4", "5e", "5e-4x", "8/255", "1e-4 apples"])
def test_what_only_looks_like_a_number_stays_text(tmp_path, text):
    assert read(write(tmp_path, f"lr: {text}")).data == {"lr": text}


def test_an_empty_file_is_an_empty_mapping(tmp_path):
    assert read(write(tmp_path, "# nothing yet\n")).data == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "suite.yaml:2:1: not valid YAML: key 'a' is written twice"),
        ("train:\n  lr: 1\n  lr: 2\n", "suite.yaml:3:3: not valid YAML: key 'lr' is written twice"),
        ("a: [{b: 1, b: 2}]\n", "suite.yaml:1:12: not valid YAML: key 'b' is written twice"),
        ("train: {epochs: 1\n", "suite.yaml:2:1: not valid YAML: did not find expected ',' or '}'"),
        ("a:\n\t- b\n", "suite.yaml:2:1: not valid YAML: found character that cannot start any token"),
        ("a: *nowhere\n", "suite.yaml:1:4: not valid YAML: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "suite.yaml:2:1: not valid YAML: but found another document"),
        ("a: !!python/object:os.system x\n", "suite.yaml:1:4: not valid YAML: could not determine a constructor"),
        ("a: 1\nb: !!timestamp 2020-13-45\n", "suite.yaml:2:4: not valid YAML: month must be in 1..12"),
        ("a:\n  b: &x [*x]\n", "suite.yaml:2:6: not valid YAML: "),
        (
            "a: 9223372036854775808\n",
            "suite.yaml:1:4: not valid YAML: 9223372036854775808 is an integer of more than 64 bits",
        ),
        ("- a\n- b\n", "suite.yaml: a suite is a mapping of keys, not list"),
        ("digits\n", "suite.yaml: a suite is a mapping of keys, not str"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_with_file_line_and_column(tmp_path, text, message):
    assert error_of(tmp_path, text).startswith(message)


def test_a_file_that_is_not_there_names_its_neighbours(tmp_path):
    write(tmp_path, "a: 1", "near.yaml")
    with pytest.raises(SuiteError, match=r"absent\.yaml: no such file; there: near\.yaml$"):
        read(tmp_path / "absent.yaml")


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "suite.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SuiteError, match=r"suite\.yaml: cannot be read: "):
        read(tmp_path / "suite.yaml")


def test_where_finds_the_nearest_part_that_was_written(tmp_path):
    source = read(write(tmp_path, "train:\n  lr: 1\ndatasets: digits\n"))
    assert source.where(("train", "lr")).endswith("suite.yaml:2:3")
    assert source.where(("train", "absent", "deeper")).endswith("suite.yaml:1:1")
    assert source.where(("train", 0, "lr")).endswith("suite.yaml:2:3"), "a bare mapping is a list of one"
    assert source.where(("datasets", 0, "name")).endswith("suite.yaml:3:1")


@given(mappings)
def test_reading_gives_back_what_was_written_with_every_mark_at_its_key(folder, data):
    source = read(write(folder, yaml.safe_dump(data), "written.yaml"))
    assert source.data == data
    assert set(source.marks) == {(), *places(data)}
    for path in places(data):
        if isinstance(path[-1], str):
            assert re.match(rf"\??\s*{path[-1]}\b", written_at(source.marks[path]))


@given(mappings, mappings)
def test_merging_lays_one_file_over_the_other(folder, base, top):
    base_file, top_file = (
        write(folder, yaml.safe_dump(base), "base.yaml"),
        write(folder, yaml.safe_dump(top), "top.yaml"),
    )
    merged = merge(read(base_file), read(top_file))
    assert merged.data == overlaid(base, top)
    for path in places(merged.data):
        mark = merged.where(path)
        assert mark == merged.marks[path], "every part of the result has a mark of its own"
        if isinstance(path[-1], str):
            assert written_at(mark).startswith(path[-1])
        if not isinstance(at(merged.data, path), dict):
            assert mark.startswith(str(top_file if path in read(top_file).marks else base_file))
    assert set(merged.marks) == {(), *places(merged.data)}, "no mark outlives what it marked"


@given(mappings, mappings)
def test_merging_is_idempotent(folder, base, top):
    first, second = read(write(folder, yaml.safe_dump(base), "base.yaml")), YamlSource(top)
    assert merge(first, first) == first
    once = merge(first, second)
    assert merge(once, second).data == once.data
    assert merge(first, once).data == once.data


def test_merging_leaves_its_arguments_alone(tmp_path):
    base, top = read(write(tmp_path, "a: {b: 1}", "base.yaml")), read(write(tmp_path, "a: {c: 2}", "top.yaml"))
    marks = dict(base.marks)
    merge(base, top)
    assert (base.data, base.marks, top.data) == ({"a": {"b": 1}}, marks, {"a": {"c": 2}})


def test_lists_are_replaced_not_joined(tmp_path):
    base, top = read(write(tmp_path, "a: [1, 2, 3]", "base.yaml")), read(write(tmp_path, "a: [4]", "top.yaml"))
    assert merge(base, top).data == {"a": [4]}


@given(mappings, values, st.data())
def test_an_override_reads_back_and_changes_nothing_else(data, value, draw):
    source = YamlSource(json.loads(json.dumps(data)))
    parents = [(), *(path for path in places(data) if isinstance(at(data, path), dict))]
    last = keys.map(lambda key: (key,)) | st.just(("new", "deeper"))
    path = (*draw.draw(st.sampled_from(parents)), *draw.draw(last))
    assignment = f"{'.'.join(map(str, path))}={json.dumps(value)}"
    assert override(source, assignment) == path
    assert at(source.data, path) == value
    for other in places(data):
        apart = other[: len(path)] != path and path[: len(other)] != other
        assert not apart or at(source.data, other) == at(data, other)
    once = json.dumps(source.data)
    override(source, assignment)
    assert json.dumps(source.data) == once


@given(mappings, st.data())
def test_errors_below_an_override_name_it_and_others_name_the_file(folder, data, draw):
    source = read(write(folder, yaml.safe_dump(data), "overridden.yaml"))
    path = draw.draw(st.sampled_from(places(data) or [("fresh",)]))
    assignment = f"{'.'.join(map(str, path))}=[1]"
    override(source, assignment)
    assert source.where((*path, 0, "deeper")) == f"--set {assignment}"
    for other in places(source.data):
        expected = "--set" if other[: len(path)] == path else str(folder)
        assert source.where(other).startswith(expected)


def test_an_override_reaches_a_place_of_a_list():
    source = YamlSource({"attacks": ["fgsm", {"name": "pgd"}]})
    override(source, "attacks.1.options.steps=3")
    override(source, "attacks.0=pgd")
    assert source.data == {"attacks": ["pgd", {"name": "pgd", "options": {"steps": 3}}]}


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("5e-4", 5e-4), ("8/255", "8/255"), ("[0, 1]", [0, 1]), ("{name: pgd}", {"name": "pgd"}), ("", None),
     ("a=b", "a=b")],
)  # fmt: skip
def test_the_value_of_an_override_is_yaml(text, value):
    source = YamlSource({})
    override(source, f"key={text}")
    assert source.data == {"key": value}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epochs", "write KEY=VALUE, for example --set train.epochs=3"),
        ("=3", "write KEY=VALUE, for example --set train.epochs=3"),
        ("train.epochs=[1", "the value is not valid YAML: did not find expected ',' or ']'"),
        ("name=!!timestamp 2020-13-45", "the value is not valid YAML: month must be in 1..12"),
        ("train.epochs.more=1", "train.epochs is 2, which has no keys"),
        ("attacks.steps=1", "attacks is a list; name one of its places, for example attacks.0.steps"),
        ("attacks.-1=pgd", "attacks is a list; name one of its places, for example attacks.0.-1"),
        ("attacks.2=pgd", "attacks has 2 entries, the last is attacks.1"),
        ("milestones.0=3", "milestones is an empty list; replace it whole, for example milestones=[...]"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(assignment, message):
    source = YamlSource({"train": {"epochs": 2}, "attacks": ["fgsm", "pgd"], "milestones": []})
    with pytest.raises(SuiteError) as caught:
        override(source, assignment)
    assert str(caught.value) == f"--set {assignment}: {message}"


def test_a_key_of_other_digits_is_a_key():
    source = YamlSource({})
    override(source, "train.²=3")
    assert source.data == {"train": {"²": 3}}


def test_an_unknown_key_above_an_override_names_the_override():
    source = YamlSource({"name": "x"}, {(): "suite.yaml:1:1"})
    override(source, "trian.attack.name=pgd")
    assert source.where(("trian",)) == "--set trian.attack.name=pgd"


def test_a_mapping_can_merge_others_and_its_own_keys_win(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("one: &one {a: 1, b: 1}\ntwo: &two {b: 2, c: 2}\nboth: {<<: [*one, *two], a: 3}\nown: {<<: *one}\n")
    source = read(path)
    assert source.data["both"] == {"a": 3, "b": 1, "c": 2}
    assert source.data["own"] == {"a": 1, "b": 1}
    assert source.where(["both", "c"]).endswith("a.yaml:2:18")


@pytest.mark.parametrize("text", ["a: {<<: 3}", "a: &a {<<: *a}", "a: {<<: [1]}"])
def test_merging_anything_else_is_refused(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(SuiteError, match="`<<` merges another mapping"):
        read(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("010", 10), ("08", 8), ("1:30", "1:30"),
        ("1e-3", 0.001), ("5e4", 50000.0), ("1.5", 1.5), ("5.", 5.0), (".5", 0.5), ("+12", 12), ("-0", 0), ("0o17", 15),
        ("0x1F", 31), ("0b11", "0b11"), ("1_000", "1_000"), ("2020-01-01", "2020-01-01"), ("=", "="), ("<<", "<<"),
        ("true", True), ("False", False), ("tRUE", "tRUE"), ("~", None), ("null", None), ("NULL", None), (".inf", math.inf),
        ("-.INF", -math.inf), ("8/255", "8/255"), ("'no'", "no"), ('"010"', "010"), ("!!str 010", "010"),
        ("!!bool True", True),
        ("{on: 1, no: [off]}", {"on": 1, "no": ["off"]}),
    ],
)  # fmt: skip
def test_scalars_are_read_as_yaml_1_2_reads_them(folder, text, value):
    for number in (value_of(text, "--set"), read(write(folder, f"key: {text}", "scalar.yaml")).data["key"]):
        assert number == value
        assert type(number) is type(value)


@pytest.mark.parametrize("text", ["!!bool maybe", "!!int some", "!!float x"])
def test_a_value_of_another_kind_than_its_tag_is_refused(folder, text):
    with pytest.raises(SuiteError, match=r"tag.yaml:1:6: not valid YAML: "):
        read(write(folder, f"key: {text}", "tag.yaml"))
