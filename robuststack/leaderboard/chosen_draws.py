"""The draws that a run chose for its attacks (`draws: auto`): read from job results, and drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from robuststack.leaderboard.drawing import MARKERS, as_svg, svg_style
from robuststack.leaderboard.figures import Jobs
from robuststack.leaderboard.row import DrawsChoice, DrawsPoint, Row
from robuststack.wording import component_text


def draws_chosen(
    jobs: Jobs, images: Mapping[str, str], results: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, DrawsChoice]]:
    """Attack -> seeds -> the choice, of those attacks whose draws a run chose. `jobs` are figure -> seeds -> judge job, and
    `images` says which attack job's images a judge job judged."""
    chosen: dict[str, dict[str, DrawsChoice]] = {}
    for label, judges in jobs.items():
        for seeds, judge in judges.items():
            probe = results[images[judge]]["spec"].get("draws_from") if judge in images else None
            if probe:
                chosen.setdefault(label, {})[seeds] = _choice(probe, results[probe])
    return chosen


def _choice(job: str, result: Mapping[str, Any]) -> DrawsChoice:
    rounded = [
        {key: value if key == "draws" else round(value, 4) for key, value in point.items()} for point in result["curve"]
    ]
    return DrawsChoice(
        draws=result["draws"],
        cap_reached=result["cap_reached"],
        n=result["n"],
        curve=tuple(DrawsPoint.model_validate(point) for point in rounded),
        job=job,
    )


def draws_text(choices: Collection[DrawsChoice]) -> str:
    """`8 (auto)`; `4 to 8 (auto)` if models or attack seeds differ, and whether one of them reached the cap."""
    fewest, most = (pick(choices, key=lambda choice: choice.draws) for pick in (min, max))
    reached = max(choices, key=lambda choice: (choice.cap_reached, choice.draws))
    return reached.text if fewest.draws == most.draws else f"{fewest.draws} to {reached.text}"


def draw_chosen(rows: Sequence[Row]) -> bytes | None:
    """The content of an SVG file: robust accuracy over the attack's draws, a line for each row, attack and pair of seeds,
    with a filled mark at what was chosen. None if no run chose anything."""
    import matplotlib.figure

    shown = [
        (f"{component_text(row.title, row.point)}, {label}", choice)
        for row in rows
        for label, choices in row.draws_chosen.items()
        for choice in choices.values()
    ]
    if not shown:
        return None
    names = list(dict.fromkeys(name for name, _ in shown))
    with svg_style():
        picture = matplotlib.figure.Figure(figsize=(6.4, 4.2 + 0.2 * len(names)), layout="constrained")
        picture.suptitle("Robust accuracy of the probe over the draws that the attack averages", fontsize=10)
        axes = picture.add_subplot()
        for name, choice in shown:
            place = names.index(name)
            style: dict[str, Any] = {"color": f"C{place % 10}", "marker": MARKERS[place % len(MARKERS)]}
            draws = [point.draws for point in choice.curve]
            accuracies = [point.accuracy for point in choice.curve]
            axes.plot(draws, accuracies, **style, markersize=4, linewidth=1.2, markerfacecolor="none", label=name)
            chosen = accuracies[draws.index(choice.draws)]
            axes.plot([choice.draws], [chosen], **style, markersize=8, linestyle="none")
        axes.set_xscale("log", base=2)
        ticks = sorted({point.draws for _, choice in shown for point in choice.curve})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlabel("draws; the filled mark was chosen")
        axes.set_ylabel("robust accuracy of the probe (%)")
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        picture.legend(handles.values(), handles, loc="outside lower center", fontsize=8)
        return as_svg(picture)
