"""The figures of a suite, drawn as SVG from the rows of its leaderboard."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import TYPE_CHECKING, Any

from robuststack.leaderboard.entries import entry_name, grouped, is_tuned
from robuststack.leaderboard.keys import has, look_up, number
from robuststack.leaderboard.row import ReadFigure, Row
from robuststack.suite.report import Drawing
from robuststack.wording import component_text, options_text, value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

MARKERS = "osD^vPX*<>"
DASHES = ("-", "--", ":", "-.")
AXES = {
    "ca": "clean accuracy (%)",
    "ra": "robust accuracy, worst case (%)",
    "train_seconds_per_epoch": "training (s / epoch)",
}
SVG_SALT = "robuststack"


def file_name(suite: str, drawing: Drawing) -> str:
    """`<suite>.<title>.svg`, of letters, digits and dashes."""
    slug = re.sub(r"[^a-z0-9]+", "-", drawing.title.lower()).strip("-")
    return f"{suite}.{slug}.svg"


def draw(drawing: Drawing, rows: Sequence[Row]) -> bytes | None:
    """The figure as the content of an SVG file, the same for the same rows; None where no row has what it shows."""
    with svg_style():
        picture = draw_figure(drawing, rows)
        return None if picture is None else as_svg(picture)


def svg_style() -> AbstractContextManager[None]:
    """What pictures beside leaderboards are made and written under. Fonts stay text, and ids come from a constant: a file
    changes only if its figures do."""
    import matplotlib

    return matplotlib.rc_context({"svg.hashsalt": SVG_SALT, "svg.fonttype": "none", "font.size": 9})


def as_svg(picture: Picture) -> bytes:
    """The content of an SVG file, under `svg_style`."""
    buffer = io.BytesIO()
    picture.savefig(buffer, format="svg", metadata={"Date": None, "Creator": SVG_SALT})
    return buffer.getvalue()


def draw_figure(drawing: Drawing, rows: Sequence[Row], *, knobs: bool = False) -> Picture | None:
    """The figure as matplotlib's; None where no row has what it shows. With `knobs`, points in a plane are named by all of
    their knobs, as `lambda_n=0.2`, and a line joins those of one entry, as the table of entries has them."""
    import matplotlib.figure

    chosen = [row for row in rows if has(row, drawing.only) and any(_shows(row, key) for key in drawing.y)]
    panels = [(heading, list(group)) for heading, group in groupby(chosen, lambda row: row.heading)]
    if not panels:
        return None
    across = 4.6 if drawing.x or len(drawing.y) == 1 else 8.0
    picture = matplotlib.figure.Figure(figsize=(1.2 + across * len(panels), 4.8), layout="constrained")
    picture.suptitle(drawing.title)
    for position, (heading, group) in enumerate(panels):
        axes = picture.add_subplot(1, len(panels), position + 1)
        axes.set_title(heading, fontsize=8)
        if drawing.x or _names(group, drawing.y):
            _lines(axes, drawing, group, knobs)
        else:
            _bars(axes, drawing, group)
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    # One legend for all panels, beside them: inside, it would hide points.
    handles = {
        label: handle for axes in picture.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if len(handles) > 1:
        _add_legend(picture, handles)
    return picture


def _add_legend(picture: Picture, handles: Mapping[str, Any]) -> None:
    """A legend below the panels, of as many columns, four at most, as the picture is wide enough for."""
    for columns in range(min(4, len(handles)), 0, -1):
        legend = picture.legend(handles.values(), handles, loc="outside lower center", ncols=columns, fontsize=8)
        if legend.get_window_extent().width <= picture.bbox.width or columns == 1:
            return
        legend.remove()


def _shows(row: Row, key: str) -> bool:
    return look_up(row, key) not in (None, {})


def _names(rows: Sequence[Row], keys: Sequence[str]) -> bool:
    """Whether the figure shows something inside the model, with one value for each layer."""
    return any(isinstance(look_up(row, key), Mapping) for row in rows for key in keys)


def _series(drawing: Drawing, rows: Sequence[Row]) -> dict[str, list[Row]]:
    series: dict[str, list[Row]] = {}
    for row in rows:
        values = {key.rpartition(".")[2]: look_up(row, key) for key in drawing.series if key != "defense"}
        shown = {key: value for key, value in values.items() if value is not None}
        name = component_text(row.defense if "defense" in drawing.series else "", shown)
        series.setdefault(name, []).append(row)
    return series


def _lines(axes: Axes, drawing: Drawing, rows: Sequence[Row], knobs: bool) -> None:
    series = {entry_name(group): group for group in grouped(rows)} if knobs else _series(drawing, rows)
    for position, (name, group) in enumerate(series.items()):
        colour = f"C{position % 10}"
        for dash, key in zip(DASHES * len(drawing.y), drawing.y, strict=False):
            label = f"{name}, {_axis(key)}" if len(drawing.y) > 1 else name
            style: dict[str, Any] = {
                "color": colour,
                "linestyle": dash,
                "marker": MARKERS[position % len(MARKERS)],
                "label": label,
            }
            values = look_up(group[0], key)
            if isinstance(values, Mapping):
                axes.plot(range(1, len(values) + 1), list(values.values()), **style, markersize=4)
            elif drawing.x:
                _curve(axes, drawing.x, key, group, style, knobs)
    axes.set_xlabel(_axis(drawing.x) if drawing.x else "layer, from the input")
    axes.set_ylabel(_axis(drawing.y[0]) if len(drawing.y) == 1 else "")


def _curve(axes: Axes, x: str, y: str, rows: Sequence[Row], style: dict[str, Any], knobs: bool) -> None:
    """Points in the order of their knob, with their intervals; models that are trained for each point are not joined."""
    shown = [row for row in rows if number(row, x) is not None and number(row, y) is not None]
    if shown and not is_tuned(shown[0]):
        style = {**style, "linestyle": "none"}
    across, up = [number(row, x) or 0.0 for row in shown], [number(row, y) or 0.0 for row in shown]
    axes.errorbar(
        across, up, xerr=_spread(shown, x), yerr=_spread(shown, y), **style, markersize=5, linewidth=1.2, elinewidth=0.6
    )
    if x in ("ca", "ra"):
        for row, a, b in zip(shown, across, up, strict=True):
            knob = next((value for value in row.point.values() if isinstance(value, (int, float))), None)
            name = options_text(row.point) if knobs else "" if knob is None else value_text(knob)
            if name:
                axes.annotate(name, (a, b), textcoords="offset points", xytext=(4, 4), fontsize=6)


def _spread(rows: Sequence[Row], key: str) -> list[list[float]] | None:
    """How far the intervals reach below and above the figures."""
    figures = [look_up(row, key) for row in rows]
    if not all(isinstance(figure, ReadFigure) for figure in figures):
        return None
    return [
        [0.0 if figure.low is None else max(figure.value - figure.low, 0.0) for figure in figures],
        [0.0 if figure.high is None else max(figure.high - figure.value, 0.0) for figure in figures],
    ]


def _bars(axes: Axes, drawing: Drawing, rows: Sequence[Row]) -> None:
    series = _series(drawing, rows)
    width = 0.8 / len(drawing.y)
    for position, key in enumerate(drawing.y):
        heights = [max((number(row, key) or 0.0 for row in group), default=0.0) for group in series.values()]
        places = [index + width * (position - (len(drawing.y) - 1) / 2) for index in range(len(series))]
        bars = axes.bar(places, heights, width, color=f"C{position}", label=_axis(key))
        if len(drawing.y) == 1:
            axes.bar_label(bars, fmt="%.4g", fontsize=7)
    axes.set_xticks(range(len(series)), list(series), rotation=20, ha="right", fontsize=7)
    axes.set_ylabel(_axis(drawing.y[0]) if len(drawing.y) == 1 else "")


def _axis(key: str) -> str:
    if key in AXES:
        return AXES[key]
    if key.startswith("ra."):
        return f"RA {key.removeprefix('ra.')} (%)"
    if key.startswith("readings."):
        reading, _, figure = key.removeprefix("readings.").partition(".")
        return f"{_axis(figure)}, {reading}"
    if key.startswith("protocols."):
        return " ".join(reversed(key.split(".")[1:]))
    return key.rpartition(".")[2]
