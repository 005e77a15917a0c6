"""What a suite shows beside its rows: figures, published rows, published comparisons."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from robuststack.plugin.options import option
from robuststack.suite.section import Section


def listed(value: Any) -> list[Any]:
    """A bare value as a list of one."""
    return value if isinstance(value, list) else [value]


Keys = Annotated[list[str], BeforeValidator(listed, json_schema_input_type=str | list[str])]
"""Keys of a row, dotted: `ca`, `ra.PGD-20`, `point.lambda_n`."""


class Drawing(Section):
    """A figure drawn beside the table, one panel for each data set, network and threat model. Axes name keys of a row in
    the leaderboard's JSON file: `ca`, `ra` (the worst case), `ra.PGD-20`, `point.lambda_n`, `protocols.published.ra`,
    `readings.any 10.ra`, `train_seconds_per_epoch`, `parameters`, `inspected.alpha` (one value for each of its names)."""

    title: str = Field(description="What the figure shows; with the suite's name, the name of its file.", min_length=1)
    x: str | None = option(None, "The horizontal axis; none: bars, one for each row.")
    y: Keys = Field(description="One or several things to draw over it.", min_length=1)
    series: Keys = option(["defense"], "Rows that agree in these keys are one line.")
    only: dict[str, Any] = option({}, "Key -> value: draw only the rows that have it.")


class Reference(Section):
    """A published row: shown beside ours, marked, never ranked."""

    source: str = Field(description="Publication and place in it.", min_length=1)
    defense: str = Field(description="The defense, as the publication names it.", min_length=1)
    setting: str = option("", "Data, network, radius: what the figures depend on.")
    ca: float | None = option(None, "Clean accuracy in percent.", ge=0, le=100)
    ra: dict[str, float] = option({}, "Attack -> robust accuracy in percent.")
    note: str = option("", "What a reader must know.")


class Claim(Section):
    """A published comparison of two defenses, computed from our rows in the same way and shown beside it."""

    source: str = Field(description="Publication and place in it.", min_length=1)
    claim: str = Field(description="What it says, in words.", min_length=1)
    published: float = Field(description="The published number: points, or a factor.")
    figure: str = Field(description="The key of a row that is compared: `ca`, `ra`, `train_seconds_per_epoch`.")
    against_figure: str | None = option(None, "The key on the side of `against`, if it is another.")
    of: dict[str, Any] = Field(description="Key -> value: our rows of the one side, for example {defense: float}.")
    against: dict[str, Any] = Field(description="Key -> value: our rows of the other side.")
    how: Literal["difference", "ratio"] = option("difference", "`of` minus `against`, or `of` divided by it.")
    take: Literal["max", "min", "mean"] = option("max", "Of all pairs, the greatest, the smallest or the mean.")
    match: dict[str, str] = option(
        {},
        "Key of the one side -> key of the other, such as {point.lambda_n: point.lambda}: only pairs that agree in them.",
    )
