"""What has to be cited with a leaderboard, a suite or one of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from robuststack.errors import PluginError
from robuststack.leaderboard.bibtex import SOFTWARE, STANDARD, Publication, bibtex, publications
from robuststack.leaderboard.board import Board
from robuststack.plan.plan import Plan
from robuststack.plugin.registry import Registry


@dataclass(frozen=True)
class CitedRow:
    """The components behind a row: (kind, name) in the order in which they are cited."""

    label: str
    components: tuple[tuple[str, str], ...]


def of_board(board: Board) -> list[CitedRow]:
    """The rows of a leaderboard."""
    return [
        _row(
            row.label,
            row.defense,
            [
                attack.name
                for attack in (*board.attacks, *board.shifts)
                if attack.label in row.shift or any(attack.label in scores.ra for scores in row.scores.values())
            ],
            row.recipe.attack.name if row.recipe else None,
            row.architecture,
            row.dataset,
        )
        for row in board.rows
    ]


def of_plan(plan: Plan) -> list[CitedRow]:
    """The rows of a suite's plan."""
    return [
        _row(
            row.label,
            row.facts["defense"],
            [
                attack["name"]
                for label, attack in {**plan.attacks, **plan.shifts}.items()
                if any(label in by for by in (*row.robust.values(), row.shift))
            ],
            row.facts["recipe"]["attack"]["name"] if row.facts["recipe"] else None,
            row.facts["architecture"],
            row.facts["dataset"],
        )
        for row in plan.rows
    ]


def _row(
    label: str, defense: str, attacks: Iterable[str], training: str | None, architecture: str | None, dataset: str
) -> CitedRow:
    named = [("defense", defense), *(("attack", name) for name in attacks)]
    named += [("attack", training)] if training else []
    named += [("architecture", architecture)] if architecture else []
    return CitedRow(label, tuple(dict.fromkeys([*named, ("dataset", dataset)])))


def citation(rows: Iterable[CitedRow], registry: Registry) -> str:
    """BibTeX of the software, the standard, and the publications of the rows' components; a comment names those whose
    publication is not known here."""
    components = dict.fromkeys(component for row in rows for component in row.components)
    kinds = ("defense", "attack", "architecture", "dataset")
    ordered = sorted(components, key=lambda component: kinds.index(component[0]))
    wanted: list[Publication] = [SOFTWARE, STANDARD]
    unknown: list[str] = []
    for kind, name in ordered:
        published = list(_published(registry, kind, name))
        wanted += published
        if not published:
            unknown.append(f"% The publication of the {kind} {name} is not known here.")
    return "\n\n".join([bibtex(wanted), *(["\n".join(unknown)] if unknown else [])])


def _published(registry: Registry, kind: str, name: str) -> Iterator[Publication]:
    try:
        yield from publications(registry.find(kind, name).load().paper)
    except PluginError:  # It is not installed here.
        return
