"""A process that is killed at any step of an upload, a publish or a collection leaves a hub that is as promised."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.migrated import migrated_sqlite

SCRIPT = """
import io, json, os, sys, traceback
from datetime import timedelta
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
from django.db.models.functions import Now
from hub.accounts.models import User
from hub.blobs import services as blobs
from hub.jobs.models import Job
from hub.library.models import Library
from hub.operations import garbage
from tests.hub import making

def look():
    said = io.StringIO()
    try:
        call_command("fsck", stdout=said)
    except SystemExit:
        pass
    print(json.dumps(said.getvalue()), flush=True)

def take(step):
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
        Job.objects.filter(state="running").update(lease_until=Now() - timedelta(seconds=1))

def in_child(step, crash, said):
    os.dup2(said, 1)
    os.dup2(said, 2)
    settings.CRASH = crash
    try:
        look()
        take(step)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)

for line in sys.stdin:
    step, crash = json.loads(line)
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        in_child(step, crash, said)
    os.close(said)
    with open(heard) as output:
        text = output.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([status, text]), flush=True)
"""
KILLED = -9


@dataclass(frozen=True)
class Step:
    """How a process ended, and what fsck had to say in it before it did anything."""

    status: int
    complaints: list[str]
    output: str


@dataclass(frozen=True)
class Hub:
    """An embedded hub in a folder of its own, where each step is a process, forked from one that has Django ready."""

    parent: subprocess.Popen[str]

    def step(self, name: str, *, crash: str = "") -> Step:
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        self.parent.stdin.write(json.dumps([name, f"{crash}:kill" if crash else ""]) + "\n")
        self.parent.stdin.flush()
        status, said = json.loads(self.parent.stdout.readline())
        found, _, output = said.partition("\n")
        store = ("index store", "index object", "serves version")  # which nobody wrote here
        complaints = [
            line
            for line in json.loads(found).splitlines()
            if line.startswith("      ") and not any(word in line for word in store)
        ]
        return Step(status, complaints, output)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    (tmp_path / "data").mkdir()
    shutil.copy(migrated_sqlite(), tmp_path / "data/hub.sqlite3")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLETCH_", "DJANGO_"))}
    environment = {
        **kept,
        "FLETCH_DATA": str(tmp_path / "data"),
        "FLETCH_FREE_BYTES": "0",
        "DJANGO_SETTINGS_MODULE": "hub.settings",
        "PYTHONPATH": ".",
    }
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        hub = Hub(parent)
        done = hub.step("prepare")
        assert done.status == 0, done.output
        yield hub


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
    assert done.status == KILLED, f"{point}: {done.output}"
    assert done.complaints == [], f"before {point}"


def in_order(hub: Hub, name: str) -> str:
    """What a step prints that goes through, on a sound hub that it leaves sound."""
    done, after = hub.step(name), hub.step("look")
    assert done.status == 0, done.output
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
