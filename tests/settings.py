"""The hub's settings over a data folder of its own, so that tests never touch a developer's."""

import os
import tempfile

os.environ.setdefault("FLETCH_DATA", tempfile.mkdtemp(prefix="fletch-tests-"))
os.environ.setdefault("FLETCH_FREE_BYTES", "0")

from hub.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
