"""The knob of a tunable defense as a game, as a leaderboard holds it: the matrix, its worth, and how that was found."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from robuststack.leaderboard.record import Percent, Record, Values
from robuststack.plugin.threat import Threat
from robuststack.wording import component_text, percent_text, points_text, threat_text


class Worth(Record):
    """A figure of a game with its 95 % interval: percent of the images, or points."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """`42.0 [38.5, 45.5]`."""
        return percent_text(self.value, self.low, self.high)


class GameSetting(Record):
    """A setting that the defender may choose."""

    name: str
    """Its operating point."""
    rows: tuple[str, ...]
    """The labels of the rows that come to it."""
    clean: Percent
    """Clean accuracy."""
    known: Percent
    """Robust accuracy against an attacker who sees that this setting runs and picks a way of crafting for each image."""
    share: Annotated[float, Field(ge=0, le=1)]
    """Its chance in the best mixture, chosen on all images; the mean over models."""


class Crafting(Record):
    """A way of crafting images, and what each setting leaves of it."""

    attack: str
    """The attack's label."""
    against: str
    """The setting that was attacked, or `mixture, round 1`."""
    accuracy: tuple[Percent, ...]
    """Robust accuracy at each setting, in the order of `settings`; the mean over models."""


class Game(Record):
    """The game of one defense. Figures are means over the models of all training and attack seeds."""

    variant: tuple[str, ...]
    """The dataset and the network, as labels name them."""
    threat: Threat
    defense: str
    shown: Values
    """The options that tell this defense from others of its name."""
    settings: tuple[GameSetting, ...]
    craftings: tuple[Crafting, ...]
    least_clean: Percent | None
    """What the mixture's clean accuracy must be at least."""
    hidden: Worth
    """Robust accuracy of the best mixture if the attacker does not see which setting runs, and picks a way of crafting for
    each image. The mixture is chosen on half of the images and scored on the other half, both ways."""
    seen: Worth
    """The same mixture's if the attacker sees the setting."""
    hiding: Worth
    """The value of hiding the knob: `hidden` minus `seen`, in points."""
    one_for_all: Worth
    """Robust accuracy of the best mixture if the attacker picks one way of crafting for the whole data set."""
    values: tuple[Percent, ...]
    """`hidden` after no, one, two, ... rounds of attacks on the mixture; the mean over models."""
    upper_bound: bool
    """Whether another round of attacks on the mixture could still lower `hidden` by half a point or more."""
    jobs: dict[str, str]
    """"training seed/attack seed" -> the game job."""
    cells: dict[str, tuple[tuple[str, ...], ...]] = Field(default_factory=dict)
    """"training seed/attack seed" -> for each way of crafting, in the order of `craftings`, the name of the labels at each
    setting, in the order of `settings`, in the file of labels beside the leaderboard: a judge job or, for a round, the game
    job with the round and the setting behind it. A model that had fewer rounds has fewer ways."""

    @property
    def heading(self) -> str:
        """Data, network and threat model."""
        return ", ".join([*self.variant, threat_text(self.threat.norm, self.threat.eps)])

    @property
    def title(self) -> str:
        """`oat dim=128`."""
        return component_text(self.defense, self.shown)

    @property
    def mixture(self) -> str:
        """`lambda=0 40 %, lambda=1 60 %`: the settings that the best mixture chooses."""
        chosen = [setting for setting in self.settings if setting.share >= 0.005]
        return ", ".join(f"{setting.name} {100 * setting.share:.0f} %" for setting in chosen)


GAME_HEADER = [
    "data, network", "defense", "settings", "RA hidden %", "RA seen %", "hiding is worth", "one crafting for all %",
    "mixture", "rounds",
]  # fmt: skip


def game_cells(game: Game) -> list[str]:
    """A game as a row of a table, under `GAME_HEADER`."""
    rounds = len(game.values) - 1
    return [
        game.heading,
        game.title,
        str(len(game.settings)),
        f"{'at most ' if game.upper_bound else ''}{game.hidden.text}",
        game.seen.text,
        f"{points_text(game.hiding.value, game.hiding.low, game.hiding.high)} points",
        game.one_for_all.text,
        game.mixture + (f" (CA at least {game.least_clean:g} %)" if game.least_clean is not None else ""),
        f"{rounds}, upper bound" if game.upper_bound else str(rounds),
    ]
