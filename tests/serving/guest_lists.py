"""Guest lists as a hub signs them, for servers whose store names the key."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from routing.index import ExpertEntry
from tests.routing.published import PublishedLibrary


@dataclass(frozen=True)
class Hub:
    """What a serving process knows of its hub: a key in the store, and the lists that it signs."""

    published: PublishedLibrary
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def say_key(self) -> None:
        self.published.store.set_guest_key(self.published.name, self.key.public_key().public_bytes_raw())

    def header(
        self, *experts: str, library: str = "tales", seconds: float = 600, **more: object
    ) -> dict[str, str]:
        """The header of a list of these experts of the library."""
        return self.signed([self.published.entries[name] for name in experts], library, seconds, **more)

    def signed(
        self, entries: Sequence[ExpertEntry], library: str = "tales", seconds: float = 600, **more: object
    ) -> dict[str, str]:
        statement = {
            "format": 1,
            "library": library,
            "expires": int(time.time() + seconds),
            "experts": [
                {name: value for name, value in asdict(entry).items() if value is not None}
                for entry in entries
            ],
            **more,
        }
        content = json.dumps(statement).encode()
        token = b".".join(urlsafe_b64encode(part) for part in (content, self.key.sign(content)))
        return {"X-Fletch-Private": token.decode()}


def known_hub(published: PublishedLibrary, members: list[str]) -> Hub:
    """A hub that published these as version 1, and whose key the store names."""
    published.publish(1, members)
    hub = Hub(published)
    hub.say_key()
    return hub
