"""Tokens of other hubs, encrypted while they wait: a copy of the database alone gives nobody any.

The key comes from SECRET_KEY, which is not in the database; web and workers have the same one.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken
from django.utils.crypto import salted_hmac

from hub.errors import Invalid

SALT = "hub.exports.sealing"


def sealed(secret: str) -> str:
    return _box().encrypt(secret.encode()).decode()


def opened(seal: str) -> str:
    """Raises Invalid where it was sealed with another key, or altered."""
    try:
        return _box().decrypt(seal).decode()
    except InvalidToken as error:
        raise Invalid("the token of this export cannot be read any more; ask for the export again") from error


def _box() -> Fernet:
    key = salted_hmac(SALT, "token", algorithm="sha256").digest()
    return Fernet(base64.urlsafe_b64encode(key))
