"""Which services of this machine the tests can use, and what it means when one is missing."""

import os
import shutil
import socket
from urllib.parse import urlsplit

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/fletch")
REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
IN_CI = os.environ.get("CI") == "true"


def missing_services() -> list[str]:
    """A sentence for each service that does not listen."""
    wanted = {"PostgreSQL": POSTGRES_URL, "Redis": REDIS_URL}
    return [f"{name} does not listen at {where(url)}" for name, url in wanted.items() if not listens(url)]


def where(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}"


def listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), timeout=2):
            return True
    except OSError:
        return False


def browser() -> str | None:
    """The path of a Chromium."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


if __name__ == "__main__":
    lacking = missing_services()
    if lacking:
        print("; ".join(lacking))
        raise SystemExit(1)
