"""``version`` and ``help``."""

from __future__ import annotations

import platform
import sys

import click

from score._version import described
from score.cli.output import write


@click.command()
def version() -> None:
    """Show the version of this client, and its commit."""
    write(f"score-client {described()} (Score protocol v1, Python {platform.python_version()}, {sys.platform})")


@click.command(name="help")
@click.argument("command", required=False)
@click.pass_context
def help(ctx: click.Context, command: str | None) -> None:
    """Show the help of a command."""
    top = ctx.find_root()
    if command is None:
        write(top.get_help())
        return
    assert isinstance(top.command, click.Group)
    found = top.command.get_command(top, command)
    if found is None:
        raise click.UsageError(
            f"No such command: {command}. Commands are {', '.join(top.command.list_commands(top))}."
        )
    with click.Context(found, parent=top, info_name=command) as inner:
        write(found.get_help(inner))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands and options.

    In ~/.bashrc, or in ~/.zshrc with zsh for bash: eval "$(score-client completion bash)". In
    ~/.config/fish/config.fish: score-client completion fish | source
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    write(made(ctx.find_root().command, {}, "score-client", "_SCORE_CLIENT_COMPLETE").source())
