"""The ladder drawn: a bar chart for each randomised point."""

from __future__ import annotations

from collections.abc import Sequence

from robuststack.leaderboard.drawing import as_svg, svg_style
from robuststack.leaderboard.ladder import ORDER, rungs
from robuststack.leaderboard.row import Row

TITLE = "Robust accuracy by what the attacker knows"


def ladder_file(suite: str) -> str:
    """The name of the picture beside a leaderboard."""
    return f"{suite}.ladder.svg"


def draw_ladder(rows: Sequence[Row]) -> bytes | None:
    """A bar chart for each row that has a ladder, as the content of an SVG file, the same for the same rows; None without
    one."""
    import matplotlib.figure

    shown = [row for row in rows if rungs(row)]
    if not shown:
        return None
    with svg_style():
        picture = matplotlib.figure.Figure(figsize=(4.8, 0.8 + 1.9 * len(shown)), layout="constrained")
        picture.suptitle(TITLE)
        for position, row in enumerate(shown):
            axes = picture.add_subplot(len(shown), 1, position + 1)
            by_rung = rungs(row)
            values = [figure.value for figure in by_rung.values()]
            spread = [
                [max(figure.value - figure.low, 0.0) for figure in by_rung.values()],
                [max(figure.high - figure.value, 0.0) for figure in by_rung.values()],
            ]
            colours = [f"C{ORDER.index(rung)}" for rung in by_rung]
            axes.barh(list(by_rung), values, xerr=spread, color=colours, alpha=0.6, error_kw={"elinewidth": 1.2})
            for rung, figure in by_rung.items():
                axes.annotate(
                    f"{figure.value:.1f}", (figure.high, rung), xytext=(4, 0), textcoords="offset points", va="center"
                )
            axes.invert_yaxis()
            axes.set_xlim(0, 110)  # Room for the number behind a bar of 100.
            axes.set_title(row.label, fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
        picture.axes[-1].set_xlabel("robust accuracy, worst case (%)")
        return as_svg(picture)
