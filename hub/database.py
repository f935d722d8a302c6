"""DATABASES for the two profiles: SQLite beside the data, or PostgreSQL by address."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


def sqlite(path: Path, *, synchronous: str) -> dict[str, Any]:
    """WAL needs IMMEDIATE: a deferred transaction that reads, then writes, fails at once with "database is
    locked".

    FULL keeps a committed upload through a power cut; NORMAL only through a crash of the process.
    """
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": (
                f"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; "
                "PRAGMA journal_size_limit=67108864;"
            ),
        },
    }


def postgresql(url: str, *, statement_timeout_seconds: int) -> dict[str, Any]:
    """One statement, one wait for a lock and one idle transaction are all bounded."""
    parts = urlsplit(url)
    limits = {
        "statement_timeout": statement_timeout_seconds * 1000,
        "lock_timeout": 5_000,
        "idle_in_transaction_session_timeout": 30_000,
    }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **dict(parse_qsl(parts.query)),
            "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
        },
    }
