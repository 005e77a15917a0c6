"""The base of what leaderboard files hold, and the types that they share."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
)


class Record(BaseModel):
    """The base of what a leaderboard file holds: unknown keys are errors, types are not coerced, numbers are finite."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        populate_by_name=True,
        protected_namespaces=(),
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class SparseRecord(Record):
    """A record whose file leaves out some keys if nothing stands there."""

    left_out: ClassVar[frozenset[str]]

    @model_serializer(mode="wrap")
    def _leave_out_what_is_not_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return {key: value for key, value in data.items() if value or key not in self.left_out}


def _finite(value: JsonValue) -> JsonValue:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        _finite(part)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"must be a finite number, not {value}")
    return value


def file_json(record: Record) -> str:
    """The content of a file that holds the record, the same for the same record."""
    return json.dumps(record.model_dump(mode="json", by_alias=True), indent=1, sort_keys=True, allow_nan=False)


def file_schema(kind: type[Record], title: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of files that hold such a record."""
    schema = kind.model_json_schema(by_alias=True)
    return {**schema, "$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}


Values = dict[str, Annotated[JsonValue, AfterValidator(_finite)]]
"""Options or knobs by name, as JSON data."""
Count = Annotated[int, Field(ge=0)]
Percent = Annotated[float, Field(ge=0, le=100)]


def percent(share: float) -> float:
    """A share, 0 to 1, as files hold it: in percent, to four decimals."""
    return round(100 * float(share), 4)
