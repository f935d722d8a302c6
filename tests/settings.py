"""The hub's settings over a data folder of its own, so that tests never touch a developer's."""

# ruff: noqa: F403, F405

import atexit
import os
import shutil
import tempfile

from tests.migrated import RUN, begin_run

if RUN not in os.environ:
    begin_run()
if "FLETCH_DATA" not in os.environ:
    os.environ["FLETCH_DATA"] = tempfile.mkdtemp(prefix="fletch-tests-")
    atexit.register(shutil.rmtree, os.environ["FLETCH_DATA"], ignore_errors=True)
os.environ.setdefault("FLETCH_FREE_BYTES", "0")
os.environ.setdefault("FLETCH_CLUSTER_SECONDS", "0")

from hub import database
from hub.settings import *

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
# What tests write need not outlive a power cut.
if "sqlite3" in DATABASES["default"]["ENGINE"]:
    DATABASES["default"] = database.sqlite(DATA / "hub.sqlite3", synchronous="OFF")
    # Threads need a file: SQLite in memory belongs to one connection.
    DATABASES["default"]["TEST"] = {"NAME": DATA / "test.sqlite3"}
else:
    DATABASES["default"]["ENGINE"] = "tests.postgresql"
    DATABASES["default"]["OPTIONS"]["options"] += " -c synchronous_commit=off"
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
WHITENOISE_AUTOREFRESH = True  # each test's client is a server of its own, which would list all static files
