"""Databases that are migrated once in a run of the tests and copied from then on: migrating takes seconds, copying none.

`make test` is one run of several commands: it names the folder (`TESTS_RUN`) before the first of them, has
`python -m tests.migrated begin` migrate beside the checks, and `... end` clear everything away.
"""

import atexit
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from tests.reachable import missing_services

PROJECT = Path(__file__).parents[1]
SERVER = "postgresql://postgres@127.0.0.1:5432"
RUN = "TESTS_RUN"
_BEGUN, _DONE = "postgresql-begun", "postgresql-done"


def begin_run() -> None:
    """The first process of a run makes a folder; those that it starts find it, and it clears everything away."""
    os.environ[RUN] = tempfile.mkdtemp(prefix="fletch-run-")
    atexit.register(_end_run, _folder())


def migrated_sqlite() -> Path:
    """A migrated file to copy."""
    file = _folder() / "hub.sqlite3"
    with _alone("sqlite"):
        if not file.exists():
            _migrate(_folder() / "sqlite")
            (_folder() / "sqlite/hub.sqlite3").rename(file)
    return file


def migrated_postgresql() -> str:
    """The name of a migrated database to copy."""
    name, begun, done = _folder().name, _folder() / _BEGUN, _folder() / _DONE
    with _alone("postgresql"):
        if not done.exists():
            begun.touch()
            _tell_server("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
            _tell_server("CREATE DATABASE {}", name)
            _migrate(_folder() / "postgresql", database_url=f"{SERVER}/{name}")
            done.touch()
    return name


def _end_run(folder: Path) -> None:
    if (folder / _BEGUN).exists():
        _tell_server("DROP DATABASE IF EXISTS {} WITH (FORCE)", folder.name)
    shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    return Path(os.environ[RUN])


@contextmanager
def _alone(what: str) -> Iterator[None]:
    with (_folder() / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _tell_server(sentence: str, name: str) -> None:
    with psycopg.connect(f"{SERVER}/postgres", autocommit=True) as server:
        server.execute(sql.SQL(sentence).format(sql.Identifier(name)))


def _migrate(folder: Path, *, database_url: str | None = None) -> None:
    """Bring a hub's database into being, in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLETCH_")}
    environment = {**kept, "FLETCH_DATA": str(folder), "DJANGO_SETTINGS_MODULE": "hub.settings"}
    if database_url is not None:
        environment["FLETCH_DATABASE_URL"] = database_url
    command = [sys.executable, "-m", "django", "migrate", "--verbosity=0"]
    subprocess.run(command, env=environment, cwd=PROJECT, check=True)


def main(wanted: str) -> None:
    """Begin: what the tests of the run will copy. End: leave nothing of it."""
    if wanted == "end":
        _end_run(_folder())
        return
    migrated_sqlite()
    if not missing_services():
        migrated_postgresql()


if __name__ == "__main__":
    main(sys.argv[1])
