"""The matrix of a game as a heat map, in SVG."""

from __future__ import annotations

import numpy as np

from robuststack.leaderboard.drawing import as_svg, svg_style
from robuststack.leaderboard.game import Game

LOW, HIGH = "#ffffff", "#7fb2e6"
"""The colours of 0 and 100 %: black figures can be read on all between them."""


def draw_game(game: Game) -> bytes:
    """The content of an SVG file, the same for the same game: a row for each way of crafting, a column for each setting.

    Below them stands what each setting leaves an attacker who sees it.
    """
    import matplotlib.figure
    from matplotlib.colors import LinearSegmentedColormap

    known = [setting.known for setting in game.settings]
    cells = np.array([*(crafting.accuracy for crafting in game.craftings), known])
    names = [f"{crafting.attack} on {crafting.against}" for crafting in game.craftings]
    names.append("the worst for each image")
    with svg_style():
        size = (3.4 + 0.9 * cells.shape[1], 1.9 + 0.34 * cells.shape[0])
        picture = matplotlib.figure.Figure(figsize=size, layout="constrained")
        bound = "at most " if game.upper_bound else ""
        picture.suptitle(f"The knob of {game.title} as a game", fontsize=10)
        axes = picture.add_subplot()
        axes.set_title(f"{game.heading}\nhidden {bound}{game.hidden.text} %, seen {game.seen.text} %", fontsize=8)
        colours = LinearSegmentedColormap.from_list("accuracy", [LOW, HIGH])
        axes.pcolormesh(cells, cmap=colours, vmin=0, vmax=100, edgecolors="white", linewidth=1)
        axes.invert_yaxis()
        for (row, column), accuracy in np.ndenumerate(cells):
            axes.text(column + 0.5, row + 0.5, f"{accuracy:.1f}", ha="center", va="center", fontsize=8)
        axes.set_xticks(
            np.arange(len(game.settings)) + 0.5, [setting.name for setting in game.settings], rotation=20, ha="right"
        )
        axes.set_yticks(np.arange(len(names)) + 0.5, names)
        axes.axhline(len(names) - 1, color="black", linewidth=0.8)
        axes.set_xlabel("the model runs at")
        axes.set_ylabel("images crafted by")
        axes.tick_params(length=0)
        return as_svg(picture)
