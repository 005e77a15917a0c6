"""What a shell offers at a TAB beside commands and options: components, job ids, leaderboards and suite keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, get_args, get_origin

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string
from click.types import StringParamType
from pydantic import BaseModel, BeforeValidator

from robuststack.paths import LEADERBOARD, STORE, expanded

BASH = """\
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" type value
    local word="${line##*[[:space:]]}"
    # Bash takes a word apart at these signs, and replaces its last part alone.
    local before="${word%%"${word##*[:=]}"}"
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                COMPREPLY+=("${value#"$before"}")
                [[ $value == *= ]] && compopt -o nospace ;;
        esac
    done < <(COMP_LINE="$line" %(complete_var)s=bash_complete "$1" 2>/dev/null)
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local line="${BUFFER[1,CURSOR]}" type value
    local -a whole open
    for type value in "${(@f)$(COMP_LINE="$line" %(complete_var)s=zsh_complete "${words[1]}" 2>/dev/null)}"; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain) if [[ $value == *= ]]; then open+=("$value"); else whole+=("$value"); fi ;;
        esac
    done
    (( $#whole )) && compadd -V whole -a whole
    (( $#open )) && compadd -V open -S '' -a open
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""
FISH = """\
function %(complete_func)s
    set -l program (commandline -po)[1]
    for answer in (env COMP_LINE=(commandline -cp | string collect) %(complete_var)s=fish_complete $program 2>/dev/null)
        set -l parts (string split -m 1 , -- $answer)
        switch $parts[1]
            case dir
                __fish_complete_directories (commandline -ct)
            case file
                __fish_complete_path (commandline -ct)
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Line(ShellComplete):
    """A shell that hands over the line up to the cursor."""

    between: ClassVar[str] = ","

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        return (words, "") if line[-1:].isspace() or not words else (words[:-1], words[-1])

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type}{self.between}{item.value}"


class Bash(_Line):
    name = "bash"
    source_template = BASH


class Zsh(_Line):
    name = "zsh"
    source_template = ZSH
    between = "\n"


class Fish(_Line):
    name = "fish"
    source_template = FISH


SHELLS: dict[str, type[_Line]] = {shell.name: shell for shell in (Bash, Zsh, Fish)}


def register() -> None:
    """Let click answer these shells so."""
    for shell in SHELLS.values():
        add_completion_class(shell)


Complete = Callable[[click.Context, str], Iterable[str]]


class _Completed(StringParamType):
    """The type of a parameter while a shell asks what it could be."""

    name = "completed"

    def __init__(self, complete: Complete, files: bool) -> None:
        self._complete = complete
        self._files = files

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        values = sorted({value for value in self._complete(ctx, incomplete) if value.startswith(incomplete)})
        items = [CompletionItem(value) for value in values]
        return items if values or not self._files else [CompletionItem(incomplete, type="file")]


def with_completions(name: str, command: click.Command) -> click.Command:
    """A command whose parameters say what they could be; only for a shell that asks."""
    for param in command.params:
        complete = COMPLETIONS.get((name, param.name or "")) or COMPLETIONS.get(("", param.name or ""))
        if complete:
            param.type = _Completed(complete, files=complete is _boards)
    if isinstance(command, click.Group):
        for inside in command.commands.values():
            with_completions(name, inside)
    return command


def _components(*kinds: str) -> Complete:
    def complete(ctx: click.Context, incomplete: str) -> Iterator[str]:
        from robuststack.plugin.registry import Registry

        yield from (registration.name for registration in Registry() if registration.kind in kinds)

    return complete


def _shown(ctx: click.Context, incomplete: str) -> Iterator[str]:
    """What may follow `show`: a kind, or a name, of the kind that stands there already."""
    from robuststack.plugin.registry import KINDS

    words: tuple[str, ...] = ctx.params.get("words") or ()
    if words and words[0] in KINDS:
        yield from _components(words[0])(ctx, incomplete)
    elif not words:
        yield from [*KINDS, *_components(*KINDS)(ctx, incomplete)]


def _jobs(*kinds: str) -> Complete:
    """Finished jobs of the store that the line names."""

    def complete(ctx: click.Context, incomplete: str) -> Iterator[str]:
        root = expanded(ctx.params.get("store") or STORE)
        for kind in kinds:
            yield from (path.parent.name for path in (root / kind).glob("*/result.json"))

    return complete


def _boards(ctx: click.Context, incomplete: str) -> Iterator[str]:
    from robuststack.leaderboard.audit_file import board_files

    folder = Path(expanded(ctx.params.get("leaderboard") or LEADERBOARD))
    yield from (path.stem for path in board_files(folder) if not path.stem.endswith(".partial"))


def _suite_keys(ctx: click.Context, incomplete: str) -> Iterator[str]:
    from robuststack.suite.suite import Suite

    # A value behind it is the user's.
    return iter(()) if "=" in incomplete else keys_of(Suite)


def keys_of(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """The keys of a suite that `--set` takes, `train.epochs=`, and those of its mappings. A list is replaced whole, unless
    a bare value may stand for it."""
    from robuststack.suite.part import Part

    for name, field in model.model_fields.items():
        key = f"{before}{field.alias or name}"
        yield f"{key}="
        if get_origin(field.annotation) is list and not any(
            isinstance(rule, BeforeValidator) for rule in field.metadata
        ):
            continue
        for part in _models(field.annotation):
            if not issubclass(part, Part):
                yield from keys_of(part, f"{key}.")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from _models(part)


COMPLETIONS: dict[tuple[str, str], Complete] = {
    ("show", "words"): _shown,
    ("evaluate", "architecture"): _components("architecture"),
    ("evaluate", "defense"): _components("defense"),
    ("evaluate", "dataset"): _components("dataset"),
    ("evaluate", "attacks"): _components("attack"),
    ("describe", "architecture"): _components("architecture"),
    ("describe", "defense"): _components("defense"),
    ("export", "job"): _jobs("train"),
    ("card", "job"): _jobs("train"),
    ("rejudge", "job"): _jobs("attack", "judge"),
    ("audit", "target"): _boards,
    ("bundle", "target"): _boards,
    ("cite", "target"): _boards,
    ("leaderboard", "suite"): _boards,
    ("leaderboard", "board"): _boards,
    ("leaderboard", "other"): _boards,
    ("", "overrides"): _suite_keys,
}
"""(command, parameter) -> what it could be; a parameter of this name of any command, if there is no command."""
