"""The command line: one module a subcommand, imported when it is called."""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from robuststack import __version__
from robuststack.did_you_mean import did_you_mean
from robuststack.errors import RobustStackError, SuiteError
from robuststack.paths import GONE
from robuststack.running.waiting import wait_passively

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

GROUPS = {
    "Run": {
        "check": "Check a suite without running it.",
        "plan": "Show the jobs of a suite, which of them are done, and how long the others take.",
        "run": "Train, attack and measure what a suite declares, and write its leaderboard.",
        "evaluate": "Attack and measure one finished model, without a suite.",
    },
    "Look": {
        "leaderboard": "Show leaderboards, compare rows or whole ones, build the page of all.",
        "list": "List the registered defenses, architectures, datasets and attacks.",
        "show": "Show the options of one component.",
        "describe": "Count the parameters and multiply-accumulates of a network under a defense.",
    },
    "Judge": {
        "audit": "Check whether the figures of a suite or a leaderboard can be believed.",
        "rejudge": "Score the kept adversarial images of an attack job again.",
        "regress": "Run a suite again and compare its leaderboard with the committed one.",
        "verify": "Check a bundle: its hashes, its figures, its images.",
    },
    "Publish": {
        "export": "Write a trained model at an operating point as safetensors, a torch.export program or ONNX.",
        "card": "Write a model card: figures, audit, recipe and citation of a trained model.",
        "cite": "Print BibTeX of what a suite or a leaderboard uses.",
        "bundle": "Write all that is behind a leaderboard into one file, for others to check.",
        "submit": "Prepare a pull request that adds a bundle to a board repository.",
    },
    "Bring your own": {
        "new": "Write a new plugin package that installs, runs and passes its tests.",
        "schema": "Print the JSON schema of suite, leaderboard or audit files.",
    },
    "Machine": {
        "doctor": "Show versions, devices and plugins, and what is wrong with them.",
        "completion": "Print what makes bash, zsh or fish complete names at a TAB.",
    },
}
"""What one does with the commands -> command -> what it does."""
COMMANDS = {name: summary for commands_of in GROUPS.values() for name, summary in commands_of.items()}
INTERRUPTED = 130
COMPLETE = "_ROBUSTSTACK_COMPLETE"
"""The environment variable by which a shell asks what could follow."""


class Commands(click.Group):
    """Subcommands by name; a module is imported when its command is used or its help is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]  # `list` is a command's module here as soon as it was imported.

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            if ctx.resilient_parsing:  # A shell asks what could follow.
                return None
            raise click.UsageError(f"unknown command {cmd_name!r}: {did_you_mean(cmd_name, COMMANDS)}")
        command = importlib.import_module(f"robuststack.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        if ctx.resilient_parsing:
            from robuststack.cli.completing import with_completions

            return with_completions(cmd_name, command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        # From the table, as help is.
        names = [CompletionItem(name) for name in COMMANDS if name.startswith(incomplete)]
        return names or click.Command.shell_complete(self, ctx, incomplete)

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        with _enough():
            return super().make_context(*arguments, **more)
        raise AssertionError  # Never: what it catches it raises as another error.

    def invoke(self, ctx: click.Context) -> Any:
        with _enough():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From the table, not from the commands: help imports none of them.
        widest = max(len(name) for name in COMMANDS)
        for title, commands_of in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), summary) for name, summary in commands_of.items()])


@contextlib.contextmanager
def _enough() -> Iterator[None]:
    """`robuststack list | head`: the reader has what it wanted. By itself click gives that the exit code of an error."""
    try:
        yield
    except BrokenPipeError:
        raise click.exceptions.Exit(0) from None


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="robuststack")
@click.pass_context
def commands(ctx: click.Context) -> int | None:
    """RobustStack: benchmarks for adversarially robust image classifiers.

    `robuststack COMMAND --help` says what a command does, with an example.

    \b
    robuststack run suites/float_vs_oat.yaml
    robuststack leaderboard show float_vs_oat
    """
    if ctx.obj is not None:
        ctx.obj()
    if ctx.invoked_subcommand is not None:
        return None
    click.echo(ctx.get_help(), err=True)
    return 2


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: handled errors are one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal or file whose encoding lacks a sign gets the sign's number.
            stream.reconfigure(errors="backslashreplace")
    wait_passively()
    # Pydantic looks for plugins of its own in all that is installed, which takes 4 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    # What is imported lives as long as the process: to look for garbage in it is a tenth of what a light command does.
    gc.disable()
    code = call(arguments, _collect_from_now_on)
    _close_output()
    sys.exit(code)


def _collect_from_now_on() -> None:
    gc.freeze()
    gc.enable()


def call(arguments: Sequence[str] | None = None, imported: Callable[[], None] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 some jobs failed or something does not hold, 2 unusable, 130
    interrupted.

    `imported` is called as soon as the command's modules are there, before it does anything.
    """
    if COMPLETE in os.environ:
        from robuststack.cli import completing

        completing.register()
    try:
        with _log_printed():
            code: Any = commands.main(args=arguments, prog_name="robuststack", standalone_mode=False, obj=imported)
        if sys.stdout is not None:
            sys.stdout.flush()  # Here it can still be said that it could not be written.
        return code if isinstance(code, int) else 0
    except SuiteError as error:
        return _fail(error.exit_code, *error.errors)
    except RobustStackError as error:
        return _fail(error.exit_code, error)
    except click.ClickException as error:
        return _fail(2, error.format_message())
    except (click.Abort, KeyboardInterrupt):  # click turns the one into the other, and prints an empty line.
        return _fail(INTERRUPTED, "interrupted; finished jobs and epochs are kept, the same command goes on from there")
    except BrokenPipeError:
        return 0  # What was left to be written at the end.
    except MemoryError as error:
        return _fail(2, f"out of memory{f': {error}' if str(error) else ''}")
    except OSError as error:
        if error.errno in FULL:
            return _fail(2, f"{error.filename or 'standard output'} cannot be written: {error.strerror}")
        if error.errno == errno.ENAMETOOLONG:
            return _fail(2, f"{str(error.filename)[:40]}... names no file: {error.strerror}")
        if error.errno in (errno.EACCES, errno.EPERM) and error.filename is not None:
            return _fail(2, f"{error.filename} cannot be used: {error.strerror}")
        if error.errno == errno.ENOENT and error.filename is None:  # Of `os.getcwd`.
            return _fail(2, GONE)
        return _fail(2, _of_plugin(error))
    except SystemError as error:  # Compiled code failed and set no error.
        return _fail(2, f"a library failed without a reason, as some do if memory runs out: {error}")
    except Exception as error:
        return _fail(2, _of_plugin(error))


def _of_plugin(error: Exception) -> str:
    """What a plugin's component did wrong.

    Raises:
        Exception: the error itself, if it is not of a plugin's code.
    """
    # Errors are rare, and components know more than `--help` needs.
    from robuststack.plugin.failing import plugin_failure

    reason = plugin_failure(error)
    if reason is None:
        raise error
    return reason


class _Notes(logging.Handler):
    """Prints what RobustStack logs, a line each, to standard error as it is at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"robuststack: note: {' '.join(record.getMessage().split())}", err=True)


@contextlib.contextmanager
def _log_printed() -> Iterator[None]:
    logger, handler = logging.getLogger("robuststack"), _Notes()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _close_output() -> None:
    """Write what is left, or let go of it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            _let_go(stream)


def _let_go(stream: TextIO) -> None:
    """Send what cannot be written, and whatever comes after it, nowhere: else Python tries again on its way out, and ends
    with a traceback or an exit code of its own."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _fail(code: int, *messages: object) -> int:
    try:
        for message in messages:
            click.echo(f"robuststack: error: {' '.join(str(message).split())}", err=True)
    except OSError:  # Standard error may be on the full disk too.
        _let_go(sys.stderr)
    return code
