"""What a hub has signed: a statement and its signature, each in base64url, with a point between them."""

from __future__ import annotations

from base64 import b64decode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

URL_SAFE = b"-_"


def signed_part(token: str, key: bytes) -> bytes | None:
    """What was signed; None unless it was this key (Ed25519, 32 bytes) that signed it."""
    statement, _, signature = token.partition(".")
    try:
        content = b64decode(statement, altchars=URL_SAFE, validate=True)
        signed = b64decode(signature, altchars=URL_SAFE, validate=True)
        Ed25519PublicKey.from_public_bytes(key).verify(signed, content)
    except (ValueError, InvalidSignature):
        return None
    return content
