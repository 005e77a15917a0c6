"""What the documentation takes from the code.

    python docs/reference.py

writes the reference (hooks, suite keys, options, contracts, commands) to docs/reference, and fills the places of other
pages, such as the table of the audit's checks; all of it is committed. When the site is built, mkdocs calls `on_files`,
which adds the page of the leaderboards and CITATION.cff. What has no description ends both with its name.
"""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import click
from mkdocs.exceptions import PluginError as BuildError
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from tabulate import tabulate

import robuststack as rs
from robuststack.cli import COMMANDS, commands
from robuststack.evidence.checks.catalogue import CHECKS
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.site.page import contents, read_boards
from robuststack.plugin import hookspecs
from robuststack.plugin.component import Component
from robuststack.plugin.options import describe
from robuststack.plugin.registry import KINDS, Registration, Registry
from robuststack.suite.suite import Suite

DOCS = Path(__file__).parent
ROOT = DOCS.parent
LEADERBOARD = ROOT / "leaderboard"
CITATION = ROOT / "CITATION.cff"
OURS = "robuststack"
CONTRACTS = (
    rs.Defense, rs.Architecture, rs.Dataset, rs.Attack, rs.GradientAttack,
    rs.TrainStep, rs.Phase, rs.Calibration, rs.Setting, rs.Scoring, Component,
)  # fmt: skip


def on_files(files: Files, config: Any) -> Files:
    """Add the page of the leaderboards; refuse to build a reference with holes in it."""
    refuse_holes()
    for name, content in contents(read_boards(LEADERBOARD), LEADERBOARD):
        files.append(File.generated(config, f"leaderboard/{name}", content=content))
    files.append(File.generated(config, CITATION.name, content=CITATION.read_text(encoding="utf-8")))
    return files


def written() -> dict[Path, str]:
    """Each file of the documentation that has something from the code in it -> what it should be."""
    texts = {DOCS / path: text for path, text in pages().items()}
    for path, name, inside in (("read-a-row.md", "a row", one_row()), ("audit.md", "checks", checks_table())):
        texts[DOCS / path] = filled((DOCS / path).read_text(encoding="utf-8"), {name: inside})
    return texts


def filled(text: str, places: Mapping[str, str]) -> str:
    """A page with what belongs between `<!-- NAME -->` and the `<!-- end -->` behind it."""
    for name, inside in places.items():
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->\n")
        assert start, f"there is no place {name!r}"
        assert end, f"the place {name!r} has no end"
        text = f"{before}{start}\n{inside.strip()}\n\n{end}{after}"
    return text


def refuse_holes() -> None:
    if missing := undocumented():
        raise BuildError(f"not documented: {'; '.join(missing)}")


def checks_table() -> str:
    """The audit's checks and what each asks."""
    return _grid([(f"`{check.name}`", check.question) for check in CHECKS], ["check", "question"])


def pages() -> dict[str, str]:
    """Path in the site -> Markdown."""
    return {
        "reference/hooks.md": hooks_page(hookspecs),
        "reference/suite.md": suite_page(Suite),
        "reference/components.md": components_page(built_in()),
        "reference/contracts.md": contracts_page(CONTRACTS),
        "reference/commands.md": commands_page(),
    }


def undocumented() -> list[str]:
    """Everything that users write and nobody described."""
    return [
        *undescribed_hooks(hookspecs),
        *undescribed_keys(Suite),
        *undescribed_options(built_in()),
        *undescribed_commands(all_commands()),
    ]


def built_in() -> list[Registration]:
    """What the project itself registers."""
    return [registration for registration in Registry() if registration.distribution == OURS]


# Hooks


def hooks(module: ModuleType) -> dict[str, Any]:
    """The hooks that a module specifies, in its order."""
    return {name: function for name, function in vars(module).items() if hasattr(function, "robuststack_spec")}


def undescribed_hooks(module: ModuleType) -> list[str]:
    return [f"hook {name}" for name, hook in hooks(module).items() if not (hook.__doc__ or "").strip()]


def hooks_page(module: ModuleType) -> str:
    parts = [
        "# Hooks",
        "An entry point of the group `robuststack` names a module, or an object, that implements some of these with"
        " `@robuststack.hookimpl`. An implementation takes only the arguments it wants.",
    ]
    for name, hook in hooks(module).items():
        arguments = ", ".join(f"{key}: {value.annotation}" for key, value in inspect.signature(hook).parameters.items())
        parts += [f"## {name}", f"`{name}({arguments})`", inspect.cleandoc(hook.__doc__)]
    return _page(parts)


# Suite keys


def sections(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Each part of a suite that is a mapping: where it stands, and what it holds."""
    yield path, model
    for name, field in model.model_fields.items():
        for inner in _models(field.annotation):
            yield from sections(inner, f"{path}.{field.alias or name}".strip("."))


def undescribed_keys(model: type[BaseModel]) -> list[str]:
    missing = [
        (path, row["name"]) for path, part in sections(model) for row in describe(part) if not row["description"]
    ]
    return [f"suite key {f'{path}.{name}' if path else name}" for path, name in missing]


def suite_page(model: type[BaseModel]) -> str:
    parts = [
        "# Suite keys",
        "A suite is a YAML file. Unknown keys are errors. If a key takes a list, one entry may be written"
        " without the list. A component may be written by its name alone.",
    ]
    seen: dict[type[BaseModel], str] = {}
    for path, part in sections(model):
        title = f"`{path}`" if path else "The suite"
        parts += [f"## {title}", inspect.cleandoc(part.__doc__ or "")]
        if part in seen:
            parts.append(f"The keys are those of `{seen[part]}`.")
        else:
            nested = {field.alias or name for name, field in part.model_fields.items() if _models(field.annotation)}
            parts.append(
                _table(
                    [
                        {**row, "default": "see below"}
                        if row["name"] in nested and row["default"] != "(required)"
                        else row
                        for row in describe(part)
                    ]
                )
            )
        seen.setdefault(part, path)
    return _page(parts)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models(inner)]


# Components


def option_models(registration: Registration) -> list[tuple[str, type[BaseModel]]]:
    """The models whose fields users write for a component."""
    cls = registration.load()
    knobs = [("Knobs", cls.Knobs)] if issubclass(cls, rs.Defense) else []
    return [("Options", cls.Options), *knobs]


def undescribed_options(registrations: Iterable[Registration]) -> list[str]:
    missing = []
    for registration in registrations:
        if not registration.load().summary():
            missing.append(f"{registration.kind} {registration.name}")
        missing += [
            f"{registration.kind} {registration.name}, {title.lower()[:-1]} {row['name']}"
            for title, model in option_models(registration)
            for row in describe(model)
            if not row["description"]
        ]
    return missing


def components_page(registrations: Iterable[Registration]) -> str:
    registrations = list(registrations)
    parts = [
        "# Components and their options",
        "What comes with RobustStack. `robuststack show KIND NAME` says the same.",
    ]
    for kind in KINDS:
        parts.append(f"## {kind.capitalize()}s")
        for registration in (registration for registration in registrations if registration.kind == kind):
            cls = registration.load()
            parts += [f"### {kind} {registration.name}", inspect.cleandoc(cls.__doc__ or "")]
            parts += [f"From: {cls.paper}."] if cls.paper else []
            for title, model in option_models(registration):
                rows = describe(model)
                for row in rows:
                    row["default"] = registration.preset.get(row["name"], row["default"])
                parts += [f"{title}:", _table(rows)] if rows else []
    return _page(parts)


# Contracts


def contracts_page(classes: Iterable[type]) -> str:
    parts = [
        "# What a plugin implements",
        "Components are classes of these kinds; a method that is not replaced does what its description says. All of"
        " them can be imported from `robuststack`.",
    ]
    for cls in classes:
        bases = [base.__name__ for base in cls.__bases__ if base in classes]
        parts += [f"## {cls.__name__}", inspect.cleandoc(cls.__doc__ or "")]
        parts += [f"A `{bases[0]}`."] if bases else []
        for name, member in vars(cls).items():
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
                continue
            signature = "" if isinstance(member, property) else str(inspect.signature(function)).replace("self, ", "")
            signature = signature.replace("(self)", "()").replace("'", "")
            parts += [f"**`{name}{signature}`**", inspect.cleandoc(function.__doc__)]
    return _page(parts)


# Commands


def all_commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its whole name, those inside a group too."""
    context = click.Context(commands)
    for name in COMMANDS:
        command = commands.get_command(context, name)
        assert command is not None
        yield from _with_inner(name, command)


def _with_inner(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    for inner, subcommand in getattr(command, "commands", {}).items():
        yield from _with_inner(f"{name} {inner}", subcommand)


def undescribed_commands(named: Iterable[tuple[str, click.Command]]) -> list[str]:
    missing = []
    for name, command in named:
        if not (command.help or "").strip():
            missing.append(f"command {name}")
        missing += [
            f"command {name}, option {parameter.opts[-1]}"
            for parameter in command.params
            if isinstance(parameter, click.Option) and not (parameter.help or "").strip()
        ]
    return missing


def commands_page() -> str:
    parts = ["# Commands", "`robuststack COMMAND --help` says the same. An error is one line and exit code 2."]
    for name, command in all_commands():
        context = click.Context(command, info_name=f"robuststack {name}")
        parts += [f"## {name}", _with_examples(command.help or ""), f"    {command.get_usage(context)[7:]}"]
        rows = [
            parameter.get_help_record(context) for parameter in command.params if isinstance(parameter, click.Option)
        ]
        cells = [(f"`{record[0]}`", record[1]) for record in rows if record]
        parts += [_grid(cells, ["option", "meaning"])] if cells else []
    return _page(parts)


def _with_examples(text: str) -> str:
    """A help text in which what is not to be wrapped, behind the sign for it, is code."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        textwrap.indent(paragraph[2:], "    ") if paragraph.startswith("\b\n") else paragraph
        for paragraph in paragraphs
    )


# A row


def one_row() -> str:
    """A randomised row of the committed leaderboard, a line for each column."""
    row = next(row for row in read_board(LEADERBOARD / "float_vs_oat.json").rows if row.stochastic)
    cells = [
        ("label", row.label),
        ("CA %", row.ca.text),
        *((f"RA {label} %", figure.text) for label, figure in row.ra.items()),
        ("n, draws", f"{row.n}, {row.draws}"),
        ("parameters", f"{row.parameters:,}"),
        ("MACs", f"{row.macs:,}"),
        ("train s/epoch", f"{row.train_seconds_per_epoch:.2f}"),
    ]
    return _grid(cells, ["column", "value"])


def _table(rows: Iterable[dict[str, Any]]) -> str:
    said = {"(required)": "required", "see below": "see below"}
    cells = []
    for row in rows:
        default = said.get(row["default"]) if isinstance(row["default"], str) else None
        shown = default or f"`{json.dumps(row['default'])}`"
        cells.append((f"`{row['name']}`", row["type"], shown, row["description"]))
    return _grid(cells, ["key", "type", "default", "meaning"])


def _grid(cells: Iterable[Iterable[str]], header: list[str]) -> str:
    escaped = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in cells]
    return tabulate(escaped, header, tablefmt="github", disable_numparse=True)


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(parts) + "\n"


def main() -> None:
    refuse_holes()
    for path, text in written().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
