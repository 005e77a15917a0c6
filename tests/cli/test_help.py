"""Help: commands in groups, and an example that works at the end of each command's own."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from robuststack.cli import COMMANDS, GROUPS, call, commands

ROOT = Path(__file__).parents[2]
RUN = {"cite", "completion", "leaderboard show", "list", "new", "show"}
"""Commands whose examples are run here, on the committed suites and leaderboards: the others train, attack, or need a job
or a file of the user's."""


def all_commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its whole name, those inside a group too."""
    for name in COMMANDS:
        command = commands.get_command(click.Context(commands), name)
        assert command is not None
        yield name, command
        yield from ((f"{name} {inner}", subcommand) for inner, subcommand in getattr(command, "commands", {}).items())


NAMED = dict(all_commands())


def examples(command: click.Command) -> list[str]:
    """The last paragraph of a command's help, if it is one that is printed as it is."""
    last = inspect.cleandoc(command.help or "").split("\n\n")[-1]
    return last.removeprefix("\b\n").replace("\\\n", " ").splitlines() if last.startswith("\b\n") else []


def parsed(line: str) -> str:
    """The whole name of the command that a line calls, whose arguments it understands."""
    program, *words = shlex.split(line.partition(" >")[0])
    assert program == "robuststack"
    context = click.Context(commands)
    command: click.Command = commands
    names: list[str] = []
    while isinstance(command, click.Group):
        names.append(words.pop(0))
        inner = command.get_command(context, names[-1])
        assert inner is not None
        command = inner
    command.make_context(names[-1], words)
    return " ".join(names)


def test_every_command_stands_in_one_group_of_the_help(capsys):
    assert call(["--help"]) == 0
    printed = capsys.readouterr().out
    assert len(COMMANDS) == sum(len(inside) for inside in GROUPS.values())
    positions = [printed.index(f"\n{title}:\n") for title in GROUPS]
    assert positions == sorted(positions)
    for title, end in zip(GROUPS, [*positions[1:], len(printed)], strict=True):
        section = printed[printed.index(f"\n{title}:\n") : end]
        assert all(f"\n  {name} " in section for name in GROUPS[title])


@pytest.mark.parametrize("name", NAMED)
def test_the_help_of_a_command_ends_with_an_example_that_it_understands(name):
    lines = examples(NAMED[name])
    assert lines, "a paragraph of commands, printed as it is, has to stand at the end"
    assert any(called.startswith(name) for called in [parsed(line) for line in lines])


def test_the_help_of_the_program_has_examples_too():
    assert {parsed(line) for line in examples(commands)} == {"run", "leaderboard show"}


def test_an_example_with_an_unknown_option_would_be_found():
    with pytest.raises(click.UsageError, match="No such option"):
        parsed("robuststack plan suites/float_vs_oat.yaml --minuts")
    assert examples(click.Command("mine", help="What it does.\n\nrobuststack mine")) == []


@pytest.mark.parametrize("name", sorted(RUN))
def test_an_example_runs(name, tmp_path, monkeypatch, capsys):
    for folder in ("suites", "leaderboard"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    for line in examples(NAMED[name]):
        assert call(shlex.split(line.partition(" >")[0])[1:]) == 0, line
        printed = capsys.readouterr()
        assert printed.out
        assert printed.err == ""


def test_two_rows_of_a_committed_leaderboard_compare_as_the_example_says(tmp_path, monkeypatch, capsys):
    (tmp_path / "leaderboard").symlink_to(ROOT / "leaderboard")
    monkeypatch.chdir(tmp_path)
    first = examples(NAMED["leaderboard compare"])[0]
    assert call(shlex.split(first)[1:]) == 0
    assert "points" in capsys.readouterr().out
