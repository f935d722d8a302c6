"""Whether a library's serving process answers with what the hub says is served: it follows a moment later."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fletch.account import address_of
from fletch.asking import Serving
from fletch.exits import CommandError
from fletch.hub import Hub
from fletch.passes import HubPass


class Live:
    """What the serving process of one release's library answers with."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._serving: Serving | None = None
        self.missing = ""  # why it was not live when last looked at

    def has(self, release: Mapping[str, Any]) -> bool:
        """Whether it answers with the version that the hub serves, of which this release is a member."""
        library = self._hub.get(f"/libraries/{release['library']}")
        name, current = str(library["slug"]), library["current"]
        try:
            live = self._asked(library).version(name)
        except CommandError as error:  # it may be on its way up
            self.missing = str(error)
            return False
        found = "no version" if live is None else f"version {live}"
        self.missing = "" if live == current else f"it answers with {found}, the hub serves version {current}"
        return not self.missing

    def _asked(self, library: Mapping[str, Any]) -> Serving:
        if self._serving is None:
            address = os.environ.get("FLETCH_SERVING") or str(library["serving_url"])
            hub_pass = HubPass(self._hub, str(library["slug"])) if self._hub.is_signed_in else None
            self._serving = Serving(address_of(address), hub_pass=hub_pass)
        return self._serving
