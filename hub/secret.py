"""The secret key of an embedded hub: made on the first run, kept beside the data, readable by its owner
only.
"""

import os
import secrets
from pathlib import Path

OWNER_ONLY = 0o600


def secret_in(path: Path) -> str:
    """The secret in `path`, made first when there is none. Two processes that start together agree on one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _offer(path, secrets.token_urlsafe(64))
    return path.read_text().strip()


def _offer(path: Path, secret: str) -> None:
    fresh = path.with_suffix(f".{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)
        os.fsync(descriptor)
    try:
        os.link(fresh, path)  # fails where another process was first: its secret stands
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
