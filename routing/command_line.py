"""`fletch`: what a person runs at home. Each subcommand is a module, imported when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from routing.errors import RoutingError

# name: the module whose main(arguments) does it, and what it does in one line
SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "train-gate": (
        "routing.train_gate",
        "train an adapter's gates on rows of yours, which never leave this machine",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; its exit status."""
    name, *rest = sys.argv[1:] if arguments is None else arguments or ["--help"]
    if name in {"-h", "--help", "help"}:
        sys.stdout.write(usage())
        return 0
    if name not in SUBCOMMANDS:
        sys.stderr.write(f"fletch: there is no {name!r}\n{usage()}")
        return 2
    try:
        import_module(SUBCOMMANDS[name][0]).main(rest)
    except RoutingError as error:
        sys.stderr.write(f"fletch {name}: {error}\n")
        return 1
    return 0


def usage() -> str:
    """All subcommands, a line for each."""
    lines = [f"  {name:<12}  {about}\n" for name, (_module, about) in SUBCOMMANDS.items()]
    return "".join(
        ["usage: fletch COMMAND ...\n\n", *lines, "\n`fletch COMMAND --help` says more about one.\n"]
    )
