"""`fletch whoami`."""

from __future__ import annotations

from fletch import options, screen
from fletch.account import account
from fletch.command import Outcome
from fletch.command import command as make
from fletch.hub import Hub


@make("whoami")
@options.hub
def command(hub: str | None) -> Outcome:
    """Say which hub is spoken to, as whom, and what the token allows."""
    found = account(hub)
    said = Hub(found).get("/whoami")
    until = f", until {said['expires_at']}" if said["expires_at"] else ""
    may = ", ".join(said["scopes"])
    text = f"{said['username']} at {found.hub}, by the token {said['token']!r}: {may}{until}"
    return Outcome({"hub": found.hub, **said}, screen.harmless(text))
