"""`fletch completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from fletch.command import Outcome
from fletch.command import command as make

SHELLS = ("bash", "zsh", "fish")


@make("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> Outcome:
    """Print what makes a shell complete this command.

    For bash: `fletch completion bash >> ~/.bashrc`; for zsh likewise; for fish:
    `fletch completion fish > ~/.config/fish/completions/fletch.fish`.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(ctx.find_root().command, {}, "fletch", "_FLETCH_COMPLETE").source()
    return Outcome({"shell": shell, "script": script}, script)
