"""`fletch login`."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from fletch import options, screen
from fletch.account import Account, credentials_file, hub_meant, remember
from fletch.command import Outcome
from fletch.command import command as make
from fletch.hub import Hub
from fletch.tokens import typed_or_piped

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
    found = Account(
        address, os.environ.get("FLETCH_TOKEN") or typed_or_piped(address, otherwise="FLETCH_TOKEN")
    )
    said = Hub(found).get("/whoami")
    remember(found)
    document = {"hub": address, **said, "credentials": str(credentials_file())}
    text = f"signed in at {address} as {said['username']} ({', '.join(said['scopes'])})"
    return Outcome(document, screen.harmless(text))
