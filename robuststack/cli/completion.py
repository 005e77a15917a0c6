"""robuststack completion SHELL"""

from __future__ import annotations

import click

from robuststack.cli.completing import SHELLS


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SHELLS)), metavar="SHELL")
def command(shell: str) -> None:
    """Print a script that makes SHELL, which is bash, zsh or fish, complete `robuststack` at a TAB.

    It completes commands, options, names of components, job ids, leaderboards and suite keys (`--set`).

    \b
    bash: robuststack completion bash >> ~/.bashrc
    zsh:  robuststack completion zsh >> ~/.zshrc     (behind `autoload -Uz compinit && compinit`)
    fish: robuststack completion fish > ~/.config/fish/completions/robuststack.fish
    """
    from robuststack.cli import COMPLETE, commands

    click.echo(SHELLS[shell](commands, {}, "robuststack", COMPLETE).source(), nl=False)
