"""`fletch logout`."""

from __future__ import annotations

from fletch import options
from fletch.account import account, forget
from fletch.command import Outcome
from fletch.command import command as make


@make("logout")
@options.hub
def command(hub: str | None) -> Outcome:
    """Forget your token for a hub. The token itself stays valid until you revoke it on the hub's page."""
    address = account(hub).hub
    was_known = forget(address)
    text = f"forgot the token for {address}" if was_known else f"no token for {address} was remembered"
    return Outcome({"hub": address, "forgotten": was_known}, text)
