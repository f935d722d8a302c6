"""What every command has: `--json`, one way to print what came of it, and one way to end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import click

from fletch import screen
from fletch.exits import CommandError, Exit
from routing.errors import BadAdapter, RoutingError

INTERRUPTED = 128 + signal.SIGINT  # as shells say it
INSTALL = "pip install 'fletch[compute]'"


@dataclass(frozen=True)
class Outcome:
    """What came of a command: for programs, for people, and as an exit code."""

    document: Mapping[str, Any]
    text: str
    end: Exit = Exit.DONE


class Command(click.Command):
    """A command whose function returns an Outcome or raises CommandError or RoutingError."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        about = "Print one JSON document on stdout; messages go to stderr."
        self.params.append(click.Option(["--json", "as_json"], is_flag=True, help=about))

    def invoke(self, ctx: click.Context) -> None:
        """Run it, print what came of it, and end with its exit code."""
        as_json = ctx.meta["json"] = ctx.params.pop("as_json")
        try:
            outcome: Outcome = super().invoke(ctx)
        except KeyboardInterrupt:
            screen.note("")
            ctx.exit(INTERRUPTED)
        except RoutingError as error:
            ctx.exit(_fail(_refused(error), as_json=as_json))
        except CommandError as error:
            ctx.exit(_fail(error, as_json=as_json))
        if as_json:
            screen.show_document(outcome.document)
        elif outcome.text:
            screen.show(outcome.text)
        ctx.exit(outcome.end)


def command(name: str) -> Callable[[Callable[..., Outcome]], Command]:
    """Make a function a command of `fletch`; its docstring is the help."""
    return click.command(name, cls=Command)


def computing(module: str) -> ModuleType:
    """A module of `routing` that computes; CommandError where torch and the rest are not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = str(error.name)
        raise CommandError(
            Exit.NEEDS_COMPUTE,
            f"this computes with {missing}, which is not installed here; install it: {INSTALL}",
        ) from error


def _refused(error: RoutingError) -> CommandError:
    if isinstance(error, BadAdapter):
        return CommandError(
            Exit.NO, "these files cannot be used", [finding.to_json() for finding in error.findings]
        )
    return CommandError(Exit.NO, str(error))


def _fail(error: CommandError, *, as_json: bool) -> Exit:
    if as_json:
        screen.show_document(error.to_json())
    name = click.get_current_context().command_path
    screen.note(f"{name}: {screen.harmless(error.detail)}")
    for finding in error.findings:
        screen.note(screen.finding_line(finding))
    return error.end
