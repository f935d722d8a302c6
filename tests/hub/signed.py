"""What the hub signs for serving processes, read as they read it."""

import json
from base64 import urlsafe_b64decode
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hub import signing
from hub.library import services as libraries
from hub.library.models import Library
from tests.hub import making


def known_library() -> Library:
    """A library whose serving processes know the hub's key."""
    found = making.library()
    libraries.record_guest_key(found.pk, signing.public_key())
    found.refresh_from_db()
    return found


def statement(token: str) -> Any:
    """What a token says, if the hub's public key believes it."""
    content, signature = map(urlsafe_b64decode, token.split("."))
    Ed25519PublicKey.from_public_bytes(signing.public_key()).verify(signature, content)
    return json.loads(content)
