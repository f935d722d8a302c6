"""Private experts: the list that a hub hands to whoever may ask with them, renewed while it is used."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from fletch.exits import CommandError, Exit
from fletch.hub import Hub

HEADER = "X-Fletch-Private"
RENEW_AFTER = 300.0  # half of what a list is good for


@dataclass
class Private:
    """The private experts of one library: all that this person may ask with, or those that are named."""

    hub: Hub
    library: str
    names: Sequence[str] = ()
    _token: str | None = None
    _renewed: float = field(default=float("-inf"))

    def headers(self) -> dict[str, str]:
        """What goes with a question; nothing where there are none. CommandError as the hub refuses."""
        if time.monotonic() - self._renewed > RENEW_AFTER:
            self.renew()
        return {} if self._token is None else {HEADER: self._token}

    def renew(self) -> None:
        """Ask the hub again. A library that it does not know has no private experts there."""
        try:
            said = self.hub.post(
                f"/libraries/{self.library}/private", {"experts": list(self.names)} if self.names else {}
            )
        except CommandError as error:
            if error.end is not Exit.NOT_FOUND or self.names:
                raise
            said = {}
        self._token, self._renewed = said.get("token"), time.monotonic()
