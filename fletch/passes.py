"""The pass that a hub hands to whoever is signed in, for serving processes that answer only with one."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from fletch.hub import Hub

HEADER = "X-Fletch-Pass"
RENEW_AFTER = 300.0  # half of what a pass is good for


@dataclass
class HubPass:
    """A pass for one library; none before a serving process asks for it. Several threads may use it."""

    hub: Hub
    library: str
    _token: str | None = None
    _renewed: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def headers(self) -> dict[str, str]:
        """What goes with a question. CommandError as the hub refuses."""
        token = self._token
        if token is None:
            return {}
        if time.monotonic() - self._renewed > RENEW_AFTER:
            self.renew(token)
        return {HEADER: self._token or token}

    def renew(self, refused: str | None) -> None:
        """Ask the hub for another than the one that was refused, unless somebody has done so meanwhile."""
        with self._lock:
            if self._token == refused:
                self._token = str(self.hub.post(f"/libraries/{self.library}/pass", {})["token"])
                self._renewed = time.monotonic()
