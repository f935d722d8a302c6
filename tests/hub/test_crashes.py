"""A process that is killed at any step of an upload, a publish or a collection leaves a hub that is as promised."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from datetime import timedelta
import django
django.setup()
from hub.accounts.models import User
from hub.blobs import services as blobs
from hub.blobs.models import Blob
from hub.indexes import services as indexes
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from hub.library.models import Library
from hub.operations import garbage
from tests.hub import making
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
    import io
    blobs.store(io.BytesIO(b"forgotten"))
    print(len(list(garbage.collect(timedelta(0)))))
if step == "lose the lease":
    from django.db.models.functions import Now
    from hub.jobs.models import Job
    Job.objects.filter(state="running").update(lease_until=Now() - timedelta(seconds=1))
"""
KILLED = -9
pytestmark = pytest.mark.timeout(600)  # up to twenty processes one after another, also on a busy machine


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

    def step(self, name: str, *, crash: str = "") -> subprocess.CompletedProcess[str]:
        return self.run("-W", "ignore", "-c", SCRIPT, name, crash=crash)

    def complaints(self) -> list[str]:
        """What fsck says, but for the index store, which nobody wrote here."""
        lines = self.run("manage.py", "fsck").stdout.splitlines()
        store = ("index store", "index object", "serves version")
        return [
            line for line in lines if line.startswith("      ") and not any(word in line for word in store)
        ]


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    hub = Hub(tmp_path)
    assert hub.run("manage.py", "migrate", "-v0").returncode == 0
    done = hub.step("prepare")
    assert done.returncode == 0, done.stderr
    return hub


UPLOAD_POINTS = [
    "upload.temp_synced",
    "upload.renamed",
    "upload.before_blob_row",
    "upload.before_row",
    "upload.row_inserted",
    "upload.committed",
]


def test_an_upload_killed_at_any_point_and_sent_again_is_one_release(hub: Hub) -> None:
    for point in UPLOAD_POINTS:
        assert hub.step("upload", crash=point).returncode == KILLED, point
        assert hub.complaints() == [], point
    again = hub.step("upload")

    assert again.stdout.split()[0] == "1", again.stderr
    assert hub.complaints() == []


def test_a_publish_killed_at_any_point_is_finished_by_the_next_worker_with_the_same_number(hub: Hub) -> None:
    for point in ("publish.version_inserted", "publish.recorded"):
        assert hub.step("publish", crash=point).returncode == KILLED, point
        hub.step("lose the lease")
        assert hub.complaints() == [], point
    done = hub.step("publish")

    assert done.stdout.split() == ["1"], done.stderr
    assert hub.complaints() == []


def test_a_collection_killed_at_any_point_loses_nothing_that_is_named(hub: Hub) -> None:
    for point in ("garbage.rechecked", "garbage.unlinked"):
        assert hub.step("collect", crash=point).returncode == KILLED, point
        assert hub.complaints() == [], point
    done = hub.step("collect")

    assert done.returncode == 0, done.stderr
    assert hub.complaints() == []
