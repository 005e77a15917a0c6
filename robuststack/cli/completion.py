"""robuststack completion SHELL"""

from __future__ import annotations

import click

from robuststack.cli.completing import SHELLS


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SHELLS)), metavar="SHELL")
def command(shell: str) -> None:
    """Print a script that makes SHELL, which is bash, zsh or fish, complete `robuststack` at a TAB.

    It completes commands, options, names of components, job ids, leaderboards and suite keys (`--set`).

    For zsh, the script goes behind `autoload -Uz compinit && compinit`.

    \b
    robuststack completion bash >> ~/.bashrc
    robuststack completion zsh >> ~/.zshrc
    robuststack completion fish > ~/.config/fish/completions/robuststack.fish
    """
    from robuststack.cli import COMPLETE, commands

    click.echo(SHELLS[shell](commands, {}, "robuststack", COMPLETE).source(), nl=False)
