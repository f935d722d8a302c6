"""Tokens that a person gives: typed where nobody sees it, or piped, and never on the command line."""

from __future__ import annotations

import sys

import click

from fletch.exits import CommandError, Exit


def typed_or_piped(address: str, *, otherwise: str) -> str:
    """A token for a hub from standard input. CommandError if none came; `otherwise` names the variable that
    could hold it.
    """
    if sys.stdin.isatty():
        typed: str = click.prompt(f"API token for {address}", hide_input=True, err=True)
        return typed.strip()
    piped = sys.stdin.readline().strip()
    if not piped:
        raise CommandError(Exit.USAGE, f"no token came on standard input; pipe it in, or set {otherwise}")
    return piped
