"""The two files of a leaderboard: JSON, which is the truth, and Markdown, which is for reading."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robuststack.errors import LeaderboardError
from robuststack.leaderboard import outcomes
from robuststack.leaderboard.checking import SCHEMA, checked
from robuststack.leaderboard.drawing import draw, file_name
from robuststack.leaderboard.entries import entries
from robuststack.leaderboard.keys import split_of
from robuststack.leaderboard.published import compared
from robuststack.leaderboard.tables import heading_of, number, tables
from robuststack.plan.plan import Plan
from robuststack.running.atomic_files import make_folder, write_text

SUSPICIOUS_ZERO_GRADIENTS = 5.0  # Percent; a saturated loss gives some far from the boundary.


def claim(plan: Plan, folder: Path) -> None:
    """Make the folder and refuse, before any compute, to write over the leaderboard of another suite file of the same name.

    Raises:
        LeaderboardError: with both files.
        StoreError: the folder cannot be made.
    """
    make_folder(folder)
    path = folder / f"{plan.suite.name}.json"
    if not path.is_file():
        return
    # Not `read`: a leaderboard that lacks a figure is what its suite is run again for.
    board = _content(path)
    written = board.get("suite_file") if isinstance(board, dict) else None
    if not isinstance(written, str):
        raise LeaderboardError(f"{path} is not a leaderboard written by robuststack; use another --leaderboard")
    own = _suite_file(plan, folder)
    if written != own:
        raise LeaderboardError(
            f"{path} is the leaderboard of {written}, and {own} is named {plan.suite.name!r} too; give one of them another"
            " `name:`, or use another --leaderboard"
        )


def read(path: Path, name: str | None = None) -> dict[str, Any]:
    """A leaderboard file; `name` is what errors call it where the user named it otherwise.

    Raises:
        LeaderboardError: it is not one, of a newer schema, or lacks a figure.
    """
    return checked(_content(path, name), name or str(path))


def _content(path: Path, name: str | None = None) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LeaderboardError(f"{name or path} cannot be read as a leaderboard: {error}") from None


def write(
    plan: Plan,
    rows: Sequence[Mapping[str, Any]],
    per_sample: Mapping[str, outcomes.Labels],
    folder: Path,
    training: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write both files, the figures, and the labels (`outcomes.collect`); `training` are the curves of the
    train jobs (`training.training_curves`).

    A plan of which rows are missing goes to `<suite>.partial.*`, so that a full leaderboard stays; a full one replaces it.

    Raises:
        StoreError: they cannot be written; the old ones are kept.
    """
    complete = plan.complete and len(rows) == len(plan.rows)
    stem = plan.suite.name if complete else f"{plan.suite.name}.partial"
    board = {**make_board(plan, rows, complete), "training": dict(training or {})}
    json_path, markdown_path = folder / f"{stem}.json", folder / f"{stem}.md"
    drawings = {file_name(stem, one): draw(one, rows) for one in plan.suite.figures}
    pictures = {name: content for name, content in drawings.items() if content is not None}
    titles = {file_name(stem, one): one.title for one in plan.suite.figures}
    outcomes_path = outcomes.path_of(json_path)
    outcomes.save(outcomes_path, per_sample)
    write_text(
        json_path, json.dumps({**board, "suite_file": _suite_file(plan, folder)}, indent=1, sort_keys=True) + "\n"
    )
    for name, content in pictures.items():
        write_text(folder / name, content.decode())
    write_text(markdown_path, markdown(board, {name: titles[name] for name in pictures}))
    if complete:
        for old in folder.glob(f"{glob.escape(plan.suite.name)}.partial.*"):
            old.unlink(missing_ok=True)
    return [json_path, markdown_path, outcomes_path, *(folder / name for name in pictures)]


def make_board(plan: Plan, rows: Sequence[Mapping[str, Any]], complete: bool) -> dict[str, Any]:
    """The leaderboard as data: rows and attacks in the suite's order, nothing that changes from run to run but timings."""
    return {
        "schema": SCHEMA,
        "suite": plan.suite.name,
        "description": " ".join(plan.suite.description.split()),
        "overrides": list(plan.suite.overrides),
        "complete": complete,
        "device": plan.hardware.kind,
        "precision": plan.hardware.precision,
        "attacks": [{"label": label, **one} for label, one in plan.attacks.items()],
        "rows": list(rows),
        "entries": entries(rows),
        "reference": [one.resolved() for one in plan.suite.reference],
        "claims": [compared(one, rows) for one in plan.suite.claims],
    }


def _suite_file(plan: Plan, folder: Path) -> str:
    return Path(os.path.relpath(plan.suite.file.resolve(), folder.resolve())).as_posix()


def markdown(board: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The leaderboard as a page: tables, then figures (file -> title), then how all of it was obtained."""
    rows = board["rows"]
    parts = [f"# {board['suite']}", board["description"]]
    if not board["complete"]:
        parts.append("**Partial:** some rows of the suite are missing.")
    if board["overrides"]:
        parts.append("Overrides: " + ", ".join(f"`--set {one}`" for one in board["overrides"]))
    for heading, table in tables(board, "github"):
        parts += [f"## {heading}", table]
    parts += [f"![{title}]({name})" for name, title in pictures.items()]
    if rows:
        parts += ["## How the figures were obtained", _method(board, rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _method(board: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    first = rows[0]
    lines = [
        "CA is clean accuracy and RA robust accuracy, in percent, with 95 % intervals: Wilson's for deterministic points, a"
        " bootstrap over images and noise draws for randomised ones. RA worst is per image: the minimum over the attacks"
        " of its mean correctness over draws.",
        f"Protocol {_headlines(rows)} (`adaptive`: the attacker sees exactly what is deployed); every adversarial"
        " image is judged in float32, on noise draws the attack did not see.",
    ]
    for heading, group in _by_heading(rows):
        one = group[0]
        draws = max(row["draws"] for row in group)
        lines.append(
            f"{heading}: {one['n']} {split_of(one)} images, {draws} draws at randomised points, training seeds"
            f" {_listed(one['seeds']['train'])}, attack seeds {_listed(one['seeds']['attack'])}"
            + f"; dataset options {_options(one['dataset_options'])}; architecture options"
            f" {_options(one['architecture_options'])}."
        )
        recipes: dict[str, list[str]] = {}
        for row in group:
            if row["recipe"]:
                recipes.setdefault(_recipe(row["recipe"]), []).append(row["defense"])
        lines += [f"{', '.join(dict.fromkeys(names))}: trained for {text}." for text, names in recipes.items()]
        lines += _attacks(group, first["protocol"])
    lines += [f"**Suspicious:** {row['label']}: {', '.join(found)}." for row in rows if (found := suspicions(row))]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    machine = first["machine"]
    workers = machine.get("workers", "1")  # Leaderboards of earlier versions have none.
    threads = f"{machine['threads']} thread{'s' if machine['threads'] != '1' else ''}"
    beside = "" if workers == "1" else f", up to {workers} jobs at a time, latency alone"
    lines.append(
        f"{versions}; {board['device']} ({machine['device']}, {threads} a job{beside}), training and"
        f" attacks in {board['precision']}. Latency: one float32 forward pass, median and quartiles, and its ratio"
        " to that of the same architecture undefended, measured in turn with it."
    )
    if any("seeds" in row["ca"] for row in rows):
        lines.append(
            "With several seeds a figure is their mean, and its interval, a bootstrap, holds for these seeds; the spread"
            " over seeds stands in the JSON file."
        )
    lines.append("Job ids, resolved options and per-seed figures stand in the JSON file of the same name.")
    return "\n".join(f"- {line}" for line in lines)


def _headlines(rows: Sequence[Mapping[str, Any]]) -> str:
    """The protocol of the rows' figures; where they have not all one, by defense."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        found.setdefault(f"`{row['protocol']}`", {})[row["defense"]] = None
    return ", ".join(f"{name} ({_listed(defenses)})" if len(found) > 1 else name for name, defenses in found.items())


def _attacks(group: Sequence[Mapping[str, Any]], headline: str) -> list[str]:
    """What each attack was at the points of a group of rows, and by which protocol, where it is not the headline's."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in sorted(group, key=lambda row: row["stochastic"]):
        for protocol, scores in {row["protocol"]: row, **row["protocols"]}.items():
            kind = "randomised" if row["stochastic"] else "deterministic"
            where = f"{kind} points" if protocol == headline else f"protocol `{protocol}`"
            # Leaderboards of earlier versions tell the headline's only.
            for name, values in scores.get("attacks", {}).items():
                found.setdefault((where, name), {}).setdefault(_options(values), []).append(row["defense"])
    return [
        f"{name}, {where}{f' of {_listed(dict.fromkeys(defenses))}' if len(texts) > 1 else ''}: {text}."
        for (where, name), texts in sorted(found.items(), key=lambda one: one[0][0].startswith("protocol"))
        for text, defenses in texts.items()
    ]


def suspicions(row: Mapping[str, Any]) -> list[str]:
    """What the host saw in a row's attacks that makes its robust accuracy doubtful."""
    checks = row["checks"]
    found = {
        f"an attack left the ball by {checks['clipped']:.3g} and was clipped": checks["clipped"] > 1e-5,
        f"an attack returned {checks['not_finite']:.0f} pixels that are not finite": checks["not_finite"] > 0,
        "an attack changed the model's mode or buffers, which were put back": not checks["state_kept"],
        f"{checks['gradients_not_finite']:.3g} % of gradients are not finite": checks["gradients_not_finite"] > 0,
        f"{checks['gradients_zero']:.3g} % of gradients are zero": checks["gradients_zero"] > SUSPICIOUS_ZERO_GRADIENTS,
    }
    return [text for text, suspicious in found.items() if suspicious]


def _by_heading(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(heading_of(row), []).append(row)
    return list(groups.items())


def _recipe(recipe: Mapping[str, Any]) -> str:
    attack = recipe["attack"]
    # Training attacks to the end whatever its attack's `early_stop` says.
    options = {key: value for key, value in attack["options"].items() if key != "early_stop"}
    return (
        f"{recipe['epochs']} epochs of batches of {recipe['batch_size']}, lr {recipe['lr']:g} ({recipe['schedule']}),"
        f" weight decay {recipe['weight_decay']:g}, training attack {attack['name']} {_options(options)}"
    )


def _options(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_value(key, value)}" for key, value in values.items()) or "none"


def _value(key: str, value: Any) -> str:
    if key == "eps":
        return number(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)
