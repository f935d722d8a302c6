"""A hub with a data folder and a database of its own, and real worker processes on it: started, killed, restarted."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
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
from tests.migrated import migrated_sqlite

PROJECT = Path(__file__).parents[2]
LOOK_EVERY = 0.05


@dataclass(frozen=True)
class Place:
    """Where a hub keeps what it has, and how long its leases last."""

    folder: Path
    database_url: str | None = None
    store_url: str | None = None
    lease_seconds: float = 3.0

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Inside, this process works for the hub of this place, as one does that was started for it."""
        temporary = self.folder / "tmp"
        blobs = {"location": self.folder / "blobs", "temporary": temporary}
        own = override_settings(
            DATA=self.folder,
            TEMPORARY=temporary,
            LEASE=timedelta(seconds=self.lease_seconds),
            STORE_URL=self.store_url or str(self.folder / "store"),
            STORAGES={"blobs": {"BACKEND": "hub.blobs.folder.FolderBlobs", "OPTIONS": blobs}},
            FILE_UPLOAD_TEMP_DIR=temporary,
        )
        with own, self._database_here():
            yield

    @contextlib.contextmanager
    def _database_here(self) -> Iterator[None]:
        """Swap this process's database for the hub's own."""
        before = connections.settings["default"]
        connections["default"].close()
        del connections["default"]
        wanted = (
            database.postgresql(self.database_url, statement_timeout_seconds=30)
            if self.database_url
            else database.sqlite(self.folder / "hub.sqlite3", synchronous="NORMAL")
        )
        connections.settings["default"] = {**before, **wanted}
        try:
            yield
        finally:
            connections["default"].close()
            del connections["default"]
            connections.settings["default"] = before


@dataclass
class LiveHub:
    """Where it is, and what a process of it needs in its environment."""

    place: Place
    environment: Mapping[str, str]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.place.folder

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
    environment = {**kept, **{name: value for name, value in settings.items() if value is not None}}
    (folder / "tmp").mkdir(parents=True)
    if database_url is None:
        shutil.copy(migrated_sqlite(), folder / "hub.sqlite3")
    hub = LiveHub(Place(folder, database_url, store_url, lease_seconds), environment)
    with hub.place.here():
        try:
            yield hub
        finally:
            for worker in hub.workers:
                kill_group(worker)
