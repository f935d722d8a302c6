"""`fletch`: the contributor's command line. Each command is a module, imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import click

from fletch.exits import MEANINGS, Exit

# name: the module of its command, and what it does in one line
COMMANDS: dict[str, tuple[str, str]] = {
    "login": ("login", "Remember a hub and your token for it."),
    "logout": ("logout", "Forget your token for a hub."),
    "whoami": ("whoami", "Say which hub is spoken to, and as whom."),
    "init": ("init", "Write the card of an adapter: base, licence, tags, library."),
    "check": ("check", "Check an adapter as the hub will, here."),
    "train-gate": ("train_gate", "Train an adapter's gates on rows that never leave this machine."),
    "upload": ("upload", "Upload an adapter; goes on where it broke off."),
    "status": ("status", "Say how far a release is, or watch it."),
    "ask": ("ask", "Ask the composed model, and see who spoke."),
    "bench": ("bench", "Put load on what serves a library, and say how fast it answers."),
    "compose": ("compose", "Have a library composed into one checkpoint."),
    "download": ("download", "Fetch an adapter or a checkpoint, checked by digest."),
    "contributions": ("contributions", "Say, or have measured, what each expert of a library contributes."),
    "export": ("export", "Push a release or a checkpoint to another hub."),
    "completion": ("completion", "Print what makes a shell complete this command."),
}


class Commands(click.Group):
    """The commands by name. Help and completion know them without importing one."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order in which a contributor meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command itself, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"fletch.commands.{COMMANDS[cmd_name][0]}")
        found: click.Command = module.command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list in `fletch --help`, and what the exit codes mean."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_module, about) in COMMANDS.items()])
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(end)), MEANINGS[end.name]) for end in Exit])


def installed_version() -> str:
    """What pip installed; a checkout has no number of its own."""
    try:
        return version("fletch")
    except PackageNotFoundError:
        return "from a checkout"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(installed_version(), prog_name="fletch")
def fletch() -> None:
    """Contribute adapters to a Fletch hub, and talk to what it serves."""
