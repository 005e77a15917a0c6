"""How the figures of a leaderboard were obtained, in words, for its Markdown file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from robuststack.leaderboard.board import Board
from robuststack.leaderboard.provenance import ResolvedRecipe
from robuststack.leaderboard.row import Row
from robuststack.leaderboard.suspicion import doubtful_rows
from robuststack.suite.ladder import FROZEN_KNOWN, OFF, SURROGATE
from robuststack.suite.recipe import PhaseRecipe
from robuststack.wording import component_text, options_text

FIGURES = (
    "CA is clean accuracy and RA robust accuracy, in percent, with 95 % intervals: Wilson's for one deterministic model,"
    " Student's on the variance over images, noise draws and seeds otherwise. RA worst is per image: the minimum over the"
    " attacks of its mean correctness over draws, where the attack is chosen on half of the draws and scored on the other."
)
SEVERAL_SEEDS = (
    "With several seeds a figure is their mean, and the lowest and the highest of them stand behind its interval, in"
    " brackets: each training seed as the mean over its attack seeds, or each attack seed of a single training seed."
)
TABLE = (
    "In training and attacks, large noise draws were looked up in a table of 65,536 normal quantiles, none beyond 4.33"
    " standard deviations ({}); judging draws from torch."
)
RUNG_TEXTS = {
    OFF: "the attacker sees the point with its noise off, and fresh draws judge",
    SURROGATE: "the attacker sees frozen draws of its own, and fresh draws judge; the mean over the frozen draws",
    FROZEN_KNOWN: "the attacker sees the very frozen draw that is deployed, and that draw judges; the mean over the draws",
}
GAP_TEXTS = {FROZEN_KNOWN: ", which is what the secrecy of the draw is worth"}
JSON_FILE = "Job ids, resolved options and per-seed figures stand in the JSON file of the same name."


def method_text(board: Board) -> str:
    """A Markdown list; the board has rows."""
    rows = board.rows
    lines = [
        FIGURES,
        f"Protocol {_headlines(rows)} (`adaptive`: the attacker sees exactly what is deployed); every adversarial"
        " image is judged in float32, on noise draws the attack did not see.",
    ]
    for heading, group in _by_heading(rows).items():
        lines += _group(heading, group, rows[0].protocol)
    lines += [f"**Suspicious:** {line}." for line in doubtful_rows(rows)]
    lines += _rungs(rows)
    lines += [_again(row) for row in rows if row.checks.attacked_again]
    lines.append(_computed_with(board))
    if looked_up := dict.fromkeys(row.defense for row in rows if row.effort.table_draws):
        lines.append(TABLE.format(_listed(looked_up)))
    if any(row.ca.seeds for row in rows):
        lines.append(SEVERAL_SEEDS)
    lines.append(JSON_FILE)
    return "\n".join(f"- {line}" for line in lines)


def _by_heading(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.heading, []).append(row)
    return groups


def _headlines(rows: Sequence[Row]) -> str:
    """The protocol of the rows' figures; by defense if they have not all one."""
    defenses: dict[str, dict[str, None]] = {}
    for row in rows:
        defenses.setdefault(f"`{row.protocol}`", {})[row.defense] = None
    return ", ".join(
        f"{protocol} ({_listed(names)})" if len(defenses) > 1 else protocol for protocol, names in defenses.items()
    )


def _group(heading: str, rows: Sequence[Row], headline: str) -> Iterator[str]:
    """The data, the training and the attacks of one table."""
    first = rows[0]
    draws = max(row.draws for row in rows)
    yield (
        f"{heading}: {first.n} {first.split} images, {draws} draws at randomised points, training seeds"
        f" {_listed(first.seeds.train)}, attack seeds {_listed(first.seeds.attack)}; dataset options"
        f" {options_text(first.dataset_options) or 'none'}; architecture options"
        f" {options_text(first.architecture_options) or 'none'}."
    )
    recipes: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.recipe:
            recipes.setdefault(recipe_text(row.recipe), {})[row.defense] = None
    yield from (f"{_listed(defenses)}: trained for {text}." for text, defenses in recipes.items())
    yield from _attacks(rows, headline)


def _rungs(rows: Sequence[Row]) -> Iterator[str]:
    """What the rungs of the ladder are, if there are any, and where one does not apply."""
    asked = {name for row in rows for name in (*row.scores, *row.inapplicable)}
    yield from (f"Protocol `{rung}`: {text}." for rung, text in RUNG_TEXTS.items() if rung in asked)
    yield from (
        f"{row.label}: `adaptive` minus `{rung}`, RA worst in points: {gap.text}{GAP_TEXTS.get(rung, '')}."
        for row in rows
        for rung, gap in row.gaps.items()
    )
    missing: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        for rung, reason in row.inapplicable.items():
            missing.setdefault((rung, reason), {})[row.label] = None
    for (rung, reason), labels in missing.items():
        yield f"Protocol `{rung}` does not apply to {_listed(labels)}: {reason}."


def recipe_text(recipe: ResolvedRecipe) -> str:
    """How a model was trained, in words."""
    # Training attacks to the end whatever its attack's `early_stop` says.
    options = {key: value for key, value in recipe.attack.options.items() if key != "early_stop"}
    # Each phase has a whole recipe, which wins over the keys that stand for all.
    phases = [f"{_phase_text(phase)} in phase `{name}`" for name, phase in recipe.phases.items()]
    text = ", then ".join(phases) or _phase_text(recipe)
    return f"{text}, training attack {component_text(recipe.attack.name, options)}"


def _phase_text(recipe: PhaseRecipe) -> str:
    average = f", scored with averaged weights ({recipe.average_text})" if recipe.average_text else ""
    return (
        f"{recipe.epochs} epochs of batches of {recipe.batch_size}, lr {recipe.lr:g} ({recipe.schedule}),"
        f" weight decay {recipe.weight_decay:g}{average}"
    )


def _attacks(rows: Sequence[Row], headline: str) -> list[str]:
    """What each attack was at the points of a table, and by which protocol if it is not the headline's."""
    uses: dict[tuple[str, str], dict[str, dict[str, None]]] = {}
    for row in sorted(rows, key=lambda row: row.stochastic):
        for protocol, scores in row.scores.items():
            kind = "randomised" if row.stochastic else "deterministic"
            where = f"{kind} points" if protocol == headline else f"protocol `{protocol}`"
            for label, options in scores.attacks.items():
                uses.setdefault((where, label), {}).setdefault(options_text(options), {})[row.defense] = None
    ordered = sorted(uses.items(), key=lambda use: use[0][0].startswith("protocol"))
    return [
        f"{label}, {where}{f' of {_listed(defenses)}' if len(texts) > 1 else ''}: {text or 'no options'}."
        for (where, label), texts in ordered
        for text, defenses in texts.items()
    ]


def _again(row: Row) -> str:
    count = row.checks.attacked_again
    return (
        f"{row.label}: {count} block{'s were' if count > 1 else ' was'} attacked a second time, without folded batch norms,"
        " because the network sends some images another way."
    )


def _computed_with(board: Board) -> str:
    first = board.rows[0]
    kinds = sorted({kind for row in board.rows for kind in row.machine.device.split(" and ")})
    several = " The jobs ran on several kinds of machine: compare times of one kind only." if len(kinds) > 1 else ""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(first.versions.model_dump().items()))
    machine = first.machine
    threads = f"{machine.threads} thread{'s' if machine.threads != '1' else ''}"
    beside = "" if machine.workers == "1" else f", up to {machine.workers} jobs at a time, latency alone"
    return (
        f"{versions}; {board.device} ({', '.join(kinds)}, {threads} a job{beside}), training and"
        f" attacks in {board.precision}. Latency: one float32 forward pass, median and quartiles, and its ratio"
        f" to that of the same architecture undefended, measured in turn with it.{several}"
    )


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)
