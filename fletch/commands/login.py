"""`fletch login`."""

from __future__ import annotations

import os
import sys
from urllib.parse import urlsplit

import click

from fletch import options, screen
from fletch.account import Account, credentials_file, hub_meant, remember
from fletch.command import Outcome
from fletch.command import command as make
from fletch.exits import CommandError, Exit
from fletch.hub import Hub

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@make("login")
@options.hub
def command(hub: str | None) -> Outcome:
    """Remember a hub and your token for it.

    The token comes from FLETCH_TOKEN, or from standard input: typed where nobody sees it, or piped. It never
    stands on the command line, where other people of the machine could read it. Make one on the hub's page
    under Settings, API tokens.
    """
    address = hub_meant(hub)
    if urlsplit(address).scheme == "http" and urlsplit(address).hostname not in LOOPBACK:
        screen.note(f"{address} is not encrypted: whoever is between here and there can read the token")
    found = Account(address, os.environ.get("FLETCH_TOKEN") or _typed_or_piped(address))
    said = Hub(found).get("/whoami")
    remember(found)
    document = {"hub": address, **said, "credentials": str(credentials_file())}
    text = f"signed in at {address} as {said['username']} ({', '.join(said['scopes'])})"
    return Outcome(document, screen.harmless(text))


def _typed_or_piped(address: str) -> str:
    if sys.stdin.isatty():
        typed: str = click.prompt(f"API token for {address}", hide_input=True, err=True)
        return typed.strip()
    piped = sys.stdin.readline().strip()
    if not piped:
        raise CommandError(Exit.USAGE, "no token came on standard input; pipe it in, or set FLETCH_TOKEN")
    return piped
