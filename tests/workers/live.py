"""A hub with a data folder and a database of its own, and real worker processes on it: started, killed, restarted."""

import atexit
import contextlib
import fcntl
import functools
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import connections
from django.test import override_settings

from hub import database
from hub.operations.liveness import worker_file

PROJECT = Path(__file__).parents[2]
LOOK_EVERY = 0.05


@dataclass
class LiveHub:
    """Where it is, and what a process of it needs in its environment."""

    folder: Path
    environment: Mapping[str, str]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "worker.log"

    def start_worker(
        self, *, app: str = "workers.app", processes: int = 2, crash: str = "", options: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """A Celery worker as an operator starts it, in a process group of its own."""
        usual = ("worker", "--queues=cpu,gpu,io", f"--concurrency={processes}", "--loglevel=INFO")
        extra = ("--without-gossip", "--without-mingle", "--without-heartbeat")
        with self.log.open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", app, *usual, *extra, *options],
                env={**self.environment, "FLETCH_CRASH": crash},
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.workers.append(worker)
        return worker

    def wait_until_alive(self, worker: subprocess.Popen[bytes]) -> None:
        said = worker_file(self.folder / "run")
        wait_for(lambda: said.exists() and said.read_text() == str(worker.pid), self.log)

    @contextlib.contextmanager
    def worker(self, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A worker for the length of a block, ended in order."""
        worker = self.start_worker(**options)
        try:
            yield worker
        finally:
            end(worker, signal.SIGTERM)

    def python(self, code: str) -> None:
        subprocess.run([sys.executable, "-c", code], env=dict(self.environment), cwd=PROJECT, check=True)


def end(worker: subprocess.Popen[bytes], number: signal.Signals, *, patience: float = 20.0) -> None:
    """Ask the first process; what is left of its group after a while is killed."""
    with contextlib.suppress(ProcessLookupError):
        worker.send_signal(number)
    with contextlib.suppress(subprocess.TimeoutExpired):
        worker.wait(patience)
    kill_group(worker)


def kill_group(worker: subprocess.Popen[bytes]) -> None:
    """As a power cut would end it: the main process and every child at once."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def wait_for(fact: Callable[[], bool], log: Path | None = None, *, seconds: float = 60.0) -> None:
    """Until it is true; fails with the end of the log, because the reason is there."""
    last_moment = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > last_moment:
            said = log.read_text(errors="replace")[-6000:] if log and log.exists() else ""
            raise AssertionError(f"not true after {seconds:.0f} s\n{said}")
        time.sleep(LOOK_EVERY)


@contextlib.contextmanager
def live_hub(
    folder: Path,
    *,
    database_url: str | None = None,
    redis_url: str | None = None,
    store_url: str | None = None,
    lease_seconds: float = 3.0,
) -> Iterator[LiveHub]:
    """Point this process, and the processes it starts, at a fresh hub in `folder`."""
    settings = {
        "FLETCH_DATA": str(folder),
        "FLETCH_DATABASE_URL": database_url,
        "FLETCH_REDIS_URL": redis_url,
        "FLETCH_STORE_URL": store_url,
        "FLETCH_LEASE_SECONDS": str(lease_seconds),
        "FLETCH_FREE_BYTES": "0",
        "FLETCH_CLUSTER_SECONDS": "0",
        "DJANGO_SETTINGS_MODULE": "hub.settings",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLETCH_")}
    hub = LiveHub(folder, {**kept, **{name: value for name, value in settings.items() if value is not None}})
    places_of_blobs = {"location": folder / "blobs", "temporary": folder / "tmp"}
    (folder / "tmp").mkdir(parents=True)
    here = override_settings(
        DATA=folder,
        TEMPORARY=folder / "tmp",
        LEASE=timedelta(seconds=lease_seconds),
        STORE_URL=store_url or str(folder / "store"),
        STORAGES={"blobs": {"BACKEND": "hub.blobs.folder.FolderBlobs", "OPTIONS": places_of_blobs}},
        FILE_UPLOAD_TEMP_DIR=folder / "tmp",
    )
    with here, _database_here(folder, database_url):
        try:
            yield hub
        finally:
            for worker in hub.workers:
                kill_group(worker)


@contextlib.contextmanager
def _database_here(folder: Path, database_url: str | None) -> Iterator[None]:
    """Swap this process's database for the hub's own: a migrated SQLite file, or the one at the address."""
    before = connections.settings["default"]
    connections["default"].close()
    del connections["default"]
    wanted = (
        database.postgresql(database_url, statement_timeout_seconds=30)
        if database_url
        else database.sqlite(folder / "hub.sqlite3", synchronous="NORMAL")
    )
    connections.settings["default"] = {**before, **wanted}
    try:
        if database_url is None:
            shutil.copy(migrated_sqlite(), folder / "hub.sqlite3")
        yield
    finally:
        connections["default"].close()
        del connections["default"]
        connections.settings["default"] = before


@functools.cache
def migrated_sqlite() -> Path:
    """Migrating takes seconds, copying the result none; made once per test run, whichever process needs it first."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(8)
    folder = Path(tempfile.gettempdir()) / f"fletch-template-{run}"
    folder.mkdir(exist_ok=True)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            migrate(folder)
            (folder / "done").touch()
    mine = Path(
        tempfile.mkdtemp(prefix="fletch-template-")
    )  # the others may end, and clean up, before this one
    atexit.register(shutil.rmtree, mine, ignore_errors=True)
    return Path(shutil.copy(folder / "hub.sqlite3", mine))


def migrate(folder: Path, *, database_url: str | None = None) -> None:
    """Bring a hub's database into being, in a process of its own."""
    environment = {**os.environ, "FLETCH_DATA": str(folder), "DJANGO_SETTINGS_MODULE": "hub.settings"}
    if database_url is not None:
        environment["FLETCH_DATABASE_URL"] = database_url
    command = [sys.executable, "-m", "django", "migrate", "--verbosity=0"]
    subprocess.run(command, env=environment, cwd=PROJECT, check=True)
