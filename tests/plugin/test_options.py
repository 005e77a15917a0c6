"""Options: strict, documented, and explained in one line when they do not fit."""

from __future__ import annotations

import pickle
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from robuststack.plugin.options import InvalidOptions, Number, Options, describe, option, parse


class Inner(Options):
    depth: int = option(1, "How deep.", ge=1)


class Example(Options):
    steps: int = option(20, "Gradient steps.", ge=1)
    step: Literal["relative", "oat"] | Number = option("relative", "Step size.")
    norm: Literal["linf"] = option("linf", "Norm.")
    lambda_: float = Field(1.0, alias="lambda", ge=0, lt=1.5, description="A trade-off.")
    rows: list[float] = option([0.0, 1.0], "Values.", min_length=1)
    inner: Inner = option(Inner(), "A part.")
    parts: list[Inner] = option([], "Several.")
    limit: int | None = option(None, "At most.")
    flag: bool = option(False, "A switch.", shown=True)


class Needy(Options):
    name: str = Field(description="Required.")
    other: int = option(0, "Not.")


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        ({"stepz": 3}, ("stepz",), "unknown key 'stepz': did you mean 'step' or 'steps'?"),
        ({"zzz": 3}, ("zzz",), "unknown key 'zzz': valid: flag, inner, lambda, limit, norm, parts, rows, step, steps"),
        ({"inner": {"dept": 3}}, ("inner", "dept"), "unknown key 'dept' in inner: did you mean 'depth'?"),
        ({"parts": [{}, {"dept": 3}]}, ("parts", 1, "dept"), "unknown key 'dept' in parts.1: did you mean 'depth'?"),
        ({"steps": "3"}, ("steps",), "steps: must be a valid integer, not '3'"),
        ({"steps": 3.0}, ("steps",), "steps: must be a valid integer, not 3.0"),
        ({"steps": True}, ("steps",), "steps: must be a valid integer, not True"),
        ({"steps": None}, ("steps",), "steps: must be a valid integer, not None"),
        ({"steps": 0}, ("steps",), "steps: must be greater than or equal to 1, not 0"),
        ({"flag": "False"}, ("flag",), "flag: must be true or false, not 'False'"),
        ({"norm": "l2"}, ("norm",), "norm: must be 'linf', not 'l2'"),
        ({"lambda": 2}, ("lambda",), "lambda: must be less than 1.5, not 2"),
        ({"rows": 1.0}, ("rows",), "rows: must be a valid list, not 1.0"),
        ({"rows": [0, "x"]}, ("rows", 1), "rows.1: must be a valid number, not 'x'"),
        ({"inner": {"depth": "x"}}, ("inner", "depth"), "inner.depth: must be a valid integer, not 'x'"),
        ({"parts": [{"depth": 0}]}, ("parts", 0, "depth"), "parts.0.depth: must be greater than or equal to 1, not 0"),
        ({"limit": "all"}, ("limit",), "limit: must be a valid integer, not 'all'"),
    ],
)
def test_the_first_problem_is_one_line_with_its_key(data, path, message):
    with pytest.raises(InvalidOptions) as caught:
        parse(Example, data)
    assert (caught.value.path, str(caught.value)) == (path, message)


@pytest.mark.parametrize("step", ["fast", "1/0", ""])
def test_every_branch_of_a_union_is_named_once_and_the_value_once(step):
    with pytest.raises(InvalidOptions) as caught:
        parse(Example, {"step": step})
    message = str(caught.value)
    assert caught.value.path == ("step",)
    assert message.startswith("step: must be 'relative' or 'oat' or a number or a fraction such as 8/255, not ")
    assert message.endswith(f"not {step!r}")
    assert message.count("not") == 1


def test_a_union_refuses_another_type_too():
    with pytest.raises(InvalidOptions, match=r"^step: must be .*'relative' or 'oat' or a.* number.*, not \[1\]$"):
        parse(Example, {"step": [1]})


def test_an_empty_list_is_told_in_words():
    with pytest.raises(InvalidOptions) as caught:
        parse(Example, {"rows": []})
    assert str(caught.value) == "rows: must have at least 1 item, not 0"


def test_a_missing_key_is_named():
    with pytest.raises(InvalidOptions, match=r"^key 'name' is missing$") as caught:
        parse(Needy, {})
    assert caught.value.path == ("name",)


def test_a_misspelt_key_is_named_before_the_missing_one():
    with pytest.raises(InvalidOptions, match=r"^unknown key 'nam': did you mean 'name'\?$"):
        parse(Needy, {"nam": "x"})


def test_a_key_that_is_no_text_is_unknown():
    with pytest.raises(InvalidOptions, match=r"^unknown key '1': valid: "):
        parse(Example, {1: 2})


def test_options_do_not_change_once_made():
    with pytest.raises(ValidationError, match="frozen"):
        Example().steps = 3


def test_resolved_options_have_every_default_under_the_names_of_suites():
    assert parse(Example, {"step": "8/255", "lambda": 0.5}).resolved() == {
        "steps": 20, "step": 8 / 255, "norm": "linf", "lambda": 0.5, "rows": [0.0, 1.0], "inner": {"depth": 1},
        "parts": [], "limit": None, "flag": False,
    }  # fmt: skip


def test_describe_gives_name_type_default_and_meaning():
    assert [tuple(row.values()) for row in describe(Example)] == [
        ("steps", "integer >= 1", 20, "Gradient steps."),
        ("step", "relative | oat or number or string", "relative", "Step size."),
        ("norm", "linf", "linf", "Norm."),
        ("lambda", "number >= 0, < 1.5", 1.0, "A trade-off."),
        ("rows", "list of number", [0.0, 1.0], "Values."),
        ("inner", "object", {"depth": 1}, "A part."),
        ("parts", "list of object", [], "Several."),
        ("limit", "integer or null", None, "At most."),
        ("flag", "boolean", False, "A switch."),
    ]
    assert describe(Needy)[0]["default"] == "(required)"


@given(st.integers(-999, 999), st.integers(1, 999), st.sampled_from(["{}/{}", " {} / {} ", "{} /{}"]))
def test_a_number_may_be_a_fraction(above, below, form):
    assert TypeAdapter(Number).validate_python(form.format(above, below), strict=True) == above / below


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-999, 999))
def test_a_number_stays_what_it_is(value):
    assert TypeAdapter(Number).validate_python(value, strict=True) == value


@pytest.mark.parametrize("value", ["8/0", "eight", "8/255/2", "", "1e", None, True, [8]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValidationError):
        TypeAdapter(Number).validate_python(value, strict=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_is_finite(value):
    for key in ("lambda", "step"):
        with pytest.raises(InvalidOptions, match=f"^{key}: must be "):
            parse(Example, {key: value})


def test_an_error_survives_the_way_from_a_worker():
    error = pickle.loads(pickle.dumps(InvalidOptions("steps: must be greater", ("attacks", 0, "steps"))))
    assert (str(error), error.path) == ("steps: must be greater", ("attacks", 0, "steps"))
