"""Secrets that are read again, encrypted while they are kept: a copy of the database gives nobody any.

The key comes from SECRET_KEY, which is not in the database; each purpose has one of its own.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken
from django.utils.crypto import salted_hmac


class Unreadable(Exception):
    """It was sealed with another key, or altered."""


def sealed(secret: str, *, purpose: str) -> str:
    return _box(purpose).encrypt(secret.encode()).decode()


def opened(seal: str, *, purpose: str) -> str:
    """Raises Unreadable."""
    try:
        return _box(purpose).decrypt(seal).decode()
    except InvalidToken as error:
        raise Unreadable from error


def _box(purpose: str) -> Fernet:
    key = salted_hmac(purpose, "token", algorithm="sha256").digest()
    return Fernet(base64.urlsafe_b64encode(key))
