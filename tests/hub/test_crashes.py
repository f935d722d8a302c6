"""A process that is killed at any step of an upload, a publish or a collection leaves a hub that is as promised."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.migrated import migrated_sqlite

SCRIPT = """
import io, json, sys
from datetime import timedelta
import django
django.setup()
from django.core.management import call_command
from hub.accounts.models import User
from hub.blobs import services as blobs
from hub.blobs.models import Blob
from hub.indexes import services as indexes
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from hub.library.models import Library
from hub.operations import garbage
from tests.hub import making
said = io.StringIO()
try:
    call_command("fsck", stdout=said)
except SystemExit:
    pass
print(json.dumps(said.getvalue()), flush=True)
step = sys.argv[1]
if step == "prepare":
    making.library()
    making.user()
    making.ready(User.objects.get(), Library.objects.get(), "ready")
if step == "upload":
    release = making.upload(User.objects.get(), Library.objects.get(), files={"new.txt": b"new"})
    print(release.number, release.oid)
if step == "publish":
    place = Library.objects.get()
    making.publish(place)
    print(place.current.number)
if step == "collect":
    blobs.store(io.BytesIO(b"forgotten"))
    print(len(list(garbage.collect(timedelta(0)))))
if step == "lose the lease":
    from django.db.models.functions import Now
    from hub.jobs.models import Job
    Job.objects.filter(state="running").update(lease_until=Now() - timedelta(seconds=1))
"""
KILLED = -9
pytestmark = pytest.mark.timeout(600)  # up to twenty processes one after another, also on a busy machine


@dataclass(frozen=True)
class Step:
    """How a process ended, and what fsck had to say in it before it did anything."""

    status: int
    complaints: list[str]
    output: str
    errors: str


class Hub:
    """An embedded hub in a folder of its own, where each step is a process."""

    def __init__(self, folder: Path) -> None:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("FLETCH_", "DJANGO_"))
        }
        self.environment = {
            **kept,
            "FLETCH_DATA": str(folder / "data"),
            "FLETCH_FREE_BYTES": "0",
            "DJANGO_SETTINGS_MODULE": "hub.settings",
            "PYTHONPATH": ".",
        }

    def run(self, *words: str, crash: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **({"FLETCH_CRASH": f"{crash}:kill"} if crash else {})}
        return subprocess.run(
            [sys.executable, *words], env=environment, capture_output=True, text=True, check=False
        )

    def step(self, name: str, *, crash: str = "") -> Step:
        done = self.run("-W", "ignore", "-c", SCRIPT, name, crash=crash)
        found, _, output = done.stdout.partition("\n")
        store = ("index store", "index object", "serves version")  # which nobody wrote here
        complaints = [
            line
            for line in json.loads(found or '""').splitlines()
            if line.startswith("      ") and not any(word in line for word in store)
        ]
        return Step(done.returncode, complaints, output, done.stderr)


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    hub = Hub(tmp_path)
    (tmp_path / "data").mkdir()
    shutil.copy(migrated_sqlite(), tmp_path / "data/hub.sqlite3")
    done = hub.step("prepare")
    assert done.status == 0, done.errors
    return hub


UPLOAD_POINTS = [
    "upload.temp_synced",
    "upload.renamed",
    "upload.before_blob_row",
    "upload.before_row",
    "upload.row_inserted",
    "upload.committed",
]


def killed(hub: Hub, name: str, point: str) -> None:
    """A step that dies at the point, on a hub where the one before left everything as promised."""
    done = hub.step(name, crash=point)
    assert done.status == KILLED, f"{point}: {done.errors}"
    assert done.complaints == [], f"before {point}"


def in_order(hub: Hub, name: str) -> str:
    """What a step prints that goes through, on a sound hub that it leaves sound."""
    done, after = hub.step(name), hub.step("look")
    assert done.status == 0, done.errors
    assert [*done.complaints, *after.complaints] == []
    return done.output


def test_an_upload_killed_at_any_point_and_sent_again_is_one_release(hub: Hub) -> None:
    for point in UPLOAD_POINTS:
        killed(hub, "upload", point)

    assert in_order(hub, "upload").split()[0] == "1"


def test_a_publish_killed_at_any_point_is_finished_by_the_next_worker_with_the_same_number(hub: Hub) -> None:
    for point in ("publish.version_inserted", "publish.recorded"):
        killed(hub, "publish", point)
        hub.step("lose the lease")

    assert in_order(hub, "publish").split() == ["1"]


def test_a_collection_killed_at_any_point_loses_nothing_that_is_named(hub: Hub) -> None:
    for point in ("garbage.rechecked", "garbage.unlinked"):
        killed(hub, "collect", point)

    in_order(hub, "collect")
