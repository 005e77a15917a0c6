"""Options: pydantic models that are strict, documented and explained in one line when they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError, to_jsonable_python

from robuststack.did_you_mean import did_you_mean, is_near
from robuststack.errors import PluginError


class Options(BaseModel):
    """The base of every options model: unknown keys are errors, types are not coerced, instances do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, populate_by_name=True, protected_namespaces=(), allow_inf_nan=False
    )

    def resolved(self) -> dict[str, Any]:
        """Every option with its value, defaults included, as plain JSON data under the names that suites use."""
        return self.model_dump(mode="json", by_alias=True)


def marked(options: Options | type[Options], mark: str) -> dict[str, Any]:
    """The options that carry a mark (`shown`, `place`, `smoke`): name, as suites write it, -> the mark's value."""
    model = options if isinstance(options, type) else type(options)
    return {
        field.alias or name: field.json_schema_extra[mark]
        for name, field in model.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and mark in field.json_schema_extra
    }


def option(
    default: Any, description: str, *, shown: bool = False, place: bool = False, smoke: Any = None, **constraints: Any
) -> Any:
    """An option with its default and what it means.

    `shown` ones are printed in leaderboards, changed or not. A `place` (a file's path, a folder) says where something is,
    not what it is: it enters no job id, and the component's `fingerprint` must stand for what lies there. `smoke` is the
    value that `--smoke` runs with: the cheapest that still goes through the same code.
    """
    marks: dict[str, Any] = {key: True for key, wanted in (("shown", shown), ("place", place)) if wanted}
    if smoke is not None:
        marks["smoke"] = smoke
    return Field(default, description=description, json_schema_extra=marks or None, **constraints)  # type: ignore[arg-type]


def _fraction(value: object) -> object:
    if isinstance(value, str):
        try:
            text = value.replace(" ", "")
            # A fraction would write out the zeros of `1e999999999`.
            return float(text if "e" in text.lower() else Fraction(text))
        except (ValueError, ZeroDivisionError, OverflowError):
            raise PydanticCustomError("number", "Input should be a number or a fraction such as 8/255") from None
    return value


Number = Annotated[float, BeforeValidator(_fraction, json_schema_input_type=float | str)]
"""A float that may also be written as a fraction: `8/255`."""


AUTO = "auto"
"""In place of a number of draws: a run chooses it."""
Draws = Annotated[int, Field(ge=1)] | Literal["auto"]
"""How many noise draws an attack averages over: a number from 1, or `auto`. A run replaces `auto` by the smallest number
that more draws do not improve on (`robuststack.evidence.draws`)."""


def in_pixel_range(value: float) -> float:
    """`value`, if it lies in (0, 1].

    Raises:
        ValueError: it does not.
    """
    if not 0 < value <= 1:
        hint = f" (was {value:g}/255 meant?)" if value > 1 else ""
        raise ValueError(f"{value:g} is outside (0, 1], the range of a pixel{hint}")
    return value


PixelLength = Annotated[Number, AfterValidator(in_pixel_range)]
"""A radius or step in units of the [0, 1] pixel range: above 0, at most 1, `8/255` accepted."""


class InvalidOptions(PluginError):
    """Options that do not fit their model. `path` leads to the offending key; `others` is what else does not fit."""

    def __init__(self, message: str, path: tuple[str | int, ...], others: tuple[InvalidOptions, ...] = ()) -> None:
        super().__init__(message)
        self.path = path
        self.others = others

    def __reduce__(self) -> tuple[type[InvalidOptions], tuple[Any, ...]]:
        return InvalidOptions, (
            str(self),
            self.path,
            self.others,
        )  # Workers send errors to the process that started them.

    @property
    def all(self) -> tuple[InvalidOptions, ...]:
        return (self, *self.others)

    def within(self, prefix: str, *path: str | int) -> InvalidOptions:
        """The same of a larger whole, in which the options are at `path`."""
        others = tuple(error.within(prefix, *path) for error in self.others)
        return InvalidOptions(f"{prefix}: {self}", (*path, *self.path), others)


Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], data: Mapping[str, Any]) -> Model:
    """Validate `data` against `model`.

    Raises:
        InvalidOptions: with the first problem in one line, the key it is at, and what would be valid; it holds the others.
    """
    data = {str(key): value for key, value in data.items()}
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise first_problem(model, error, data) from None


def first_problem(model: type[BaseModel], error: ValidationError, data: Mapping[str, Any]) -> InvalidOptions:
    """The first problem that pydantic found in `data`, in one line with the key it is at, and what would be valid; the
    others stand in its `others`."""
    # A misspelt key first: it is why another one is missing.
    problems = sorted(error.errors(), key=lambda problem: problem["type"] == "missing")
    places: dict[tuple[str | int, ...], list[Any]] = {}
    for problem in problems:
        places.setdefault(_real(problem, data), []).append(problem)
    first, *others = _told(model, places)
    return InvalidOptions(str(first), first.path, tuple(others))


def _told(model: type[BaseModel], places: Mapping[tuple[str | int, ...], list[Any]]) -> list[InvalidOptions]:
    """One error a place. Left out is what may follow from another: a missing key beside a misspelt one, and what branches
    of a union say about the inside, or the outside, of what another branch refused."""
    told: list[InvalidOptions] = []
    misspelt = {path[:-1] for path, problems in places.items() if problems[0]["type"] == "extra_forbidden"}
    for path, problems in places.items():
        follows = problems[0]["type"] == "missing" and path[:-1] in misspelt
        nested = any(path[: len(error.path)] == error.path or error.path[: len(path)] == path for error in told)
        if not follows and not nested:
            told.append(InvalidOptions(_explain(model, problems, path), path))
    return told


def _real(problem: Any, data: Any) -> tuple[str | int, ...]:
    """Where the problem is as it was written: without the parts that pydantic adds to name the branch of a union, and
    without the place in a list of one that was written without the list."""
    path: tuple[str | int, ...] = ()
    for part in problem["loc"]:
        if isinstance(part, int) and not isinstance(data, list | tuple):
            continue
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            if problem["type"] != "missing":
                break
        path = (*path, part)
    return path


def _explain(model: type[BaseModel], problems: list[Any], path: tuple[str | int, ...]) -> str:
    # Of a union's branches, the one that understood the value and refused it says most.
    problem = next((error for error in problems if error["type"] == "value_error"), problems[0])
    key = ".".join(str(part) for part in path)
    kind = problem["type"]
    if kind == "extra_forbidden":
        valid = _keys(model, path[:-1])
        told = f"unknown key {path[-1]!r}{_within(path[:-1])}: {did_you_mean(str(path[-1]), valid)}"
        # `{name: pgd, steps: 5}`: the key of a component, unless it is all but one that a part of a suite has.
        outside = {"name", "options"} <= set(valid) and not is_near(str(path[-1]), valid)
        return f"{told} (an option goes under `options:`)" if outside else told
    if kind == "missing":
        return f"key {path[-1]!r}{_within(path[:-1])} is missing"
    if kind == "value_error":
        reason = problem["msg"].removeprefix("Value error, ")
        return f"{key}: {reason}" if key else reason
    reason = " or ".join(dict.fromkeys(error["msg"].removeprefix("Input should be ") for error in problems))
    if kind == "too_short":
        least = problem["ctx"]["min_length"]
        return (
            f"{key}: must have at least {least} item{'s' if least > 1 else ''}, not {problem['ctx']['actual_length']}"
        )
    if kind in ("model_type", "dict_type"):
        reason = "a mapping"
    if kind == "bool_type":
        reason = "true or false"
    return f"{key}: must be {reason}, not {problem['input']!r}"


def _within(path: tuple[str | int, ...]) -> str:
    return f" in {'.'.join(str(part) for part in path)}" if path else ""


def _keys(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """The keys that are valid at `path`, followed through nested models, lists and optionals."""
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int) or current is None:
            continue
        for name, field in current.model_fields.items():
            if part in (name, field.alias):
                current = next(iter(_models(field.annotation)), None)
                break
    fields = current.model_fields.items() if current else ()
    return [field.alias or name for name, field in fields]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models(inner)]


def describe(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The options of a model: name, type, default and description, as `robuststack show` prints them."""
    schema = model.model_json_schema(by_alias=True)
    rows = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        shape = schema["properties"][key]
        required = field.is_required()
        default = None if required else field.get_default(call_default_factory=True)
        rows.append({
            "name": key,
            "type": _type_name(shape, schema.get("$defs", {})),
            "default": "(required)" if required else to_jsonable_python(default, by_alias=True),
            "description": field.description or "",
        })  # fmt: skip
    return rows


def _type_name(shape: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "$ref" in shape:
        return _type_name(definitions[shape["$ref"].rsplit("/", 1)[-1]], definitions)
    if "anyOf" in shape:
        return " or ".join(dict.fromkeys(_type_name(alternative, definitions) for alternative in shape["anyOf"]))
    if "enum" in shape:
        return " | ".join(str(choice) for choice in shape["enum"])
    if "const" in shape:
        return str(shape["const"])
    name = str(shape.get("type", "any"))
    if name == "array":
        return f"list of {_type_name(shape.get('items', {}), definitions)}"
    limits = [
        f"{sign} {shape[key]}"
        for key, sign in (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
        if key in shape
    ]
    return f"{name} {', '.join(limits)}" if limits else name
