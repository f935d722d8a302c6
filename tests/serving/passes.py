"""Passes as a hub signs them, for servers whose store names the key."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def signed_pass(key: Ed25519PrivateKey, *, seconds: float = 600, **said: Any) -> str:
    """A pass of ada's for the library `tales` without limits, unless said otherwise."""
    statement = {
        "format": 1,
        "kind": "pass",
        "caller": "ada",
        "libraries": ["tales"],
        "expires": int(time.time() + seconds),
        "answers": None,
        "tokens_per_minute": None,
        **said,
    }
    content = json.dumps(statement).encode()
    return b".".join(urlsafe_b64encode(part) for part in (content, key.sign(content))).decode()
