"""Statements that a serving process believes without any secret of the hub: signed with Ed25519.

The key is worked out from the hub's secret key, so web processes and workers, who have that, need no other
setting. Workers say the public half in the index store, where serving processes read whom to believe.
"""

from base64 import urlsafe_b64encode
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

PURPOSE = b"fletch guest lists"  # another purpose would have another key
KEY_BYTES = 32


def public_key() -> bytes:
    """What signatures are compared with: 32 bytes that everybody may know."""
    return _key(settings.SECRET_KEY).public_key().public_bytes_raw()


def signed(statement: bytes) -> str:
    """The statement and its signature, each in base64url, with a point between them."""
    signature = _key(settings.SECRET_KEY).sign(statement)
    return f"{urlsafe_b64encode(statement).decode()}.{urlsafe_b64encode(signature).decode()}"


@lru_cache(maxsize=1)
def _key(secret: str) -> Ed25519PrivateKey:
    derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=PURPOSE).derive(secret.encode())
    return Ed25519PrivateKey.from_private_bytes(derived)
