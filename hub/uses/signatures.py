"""Whose reports are believed: of whoever has the key that the operator gave to the serving processes.

Where nobody set one (FLETCH_REPORT_KEY) the key is worked out from the secret key, so that `manage.py up` and
`manage.py report_key` can hand it on; the way back cannot be worked out.
"""

import hmac
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.http import HttpRequest

HEADER = "X-Fletch-Signature"
PURPOSE = b"fletch reports of uses"
KEY_BYTES = 32


def report_key() -> str:
    """What serving processes sign their reports with."""
    return settings.REPORT_KEY or _derived(settings.SECRET_KEY)


class SignedReport:
    """For the JSON API: lets in what carries the signature of its own bytes."""

    def __call__(self, request: HttpRequest) -> bool:
        signature = hmac.new(report_key().encode(), request.body, "sha256").hexdigest()
        return hmac.compare_digest(request.headers.get(HEADER, "").encode(), f"sha256={signature}".encode())


@lru_cache(maxsize=1)
def _derived(secret: str) -> str:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=PURPOSE).derive(secret.encode()).hex()
