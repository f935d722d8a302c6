"""`fletch upload` and `fletch status` against a web process whose workers are the tests: verdicts as exit codes."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from hub.accounts import organisations
from hub.accounts.models import User
from hub.adapters import services as adapters
from hub.adapters.models import Release
from hub.errors import FindingJson
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from hub.library.models import Library
from tests.fletch.conftest import Elsewhere
from tests.fletch.running import Shell
from tests.fletch.terminal import terminal
from tests.hub import making
from tests.workers.live import wait_for

FAULT: FindingJson = {
    "check": "norm",
    "severity": "error",
    "file": "adapter_model.safetensors",
    "field": "layers.0",
    "found": "12 times",
    "expected": "at most 10",
    "fix": "Check lora_alpha. \x1b[31m",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "poetry"
    place.mkdir()
    for name, content in making.PLAIN.items():
        (place / name).write_bytes(content)
    (place / ".cache").write_bytes(b"mine")
    return place


@pytest.fixture
def uploaded(shell: Shell, folder: Path) -> Release:
    """By the command itself, and not looked at yet."""
    making.library()
    done = shell.fletch("upload", folder, "--library", "tiny", "-m", "First", "--unchecked")
    assert done.status == 0, done.err
    return Release.objects.get()


def rejected(release: Release) -> None:
    claim = making.take(JobKind.VALIDATE)
    adapters.record_report(claim, release.pk, [FAULT])
    jobs.finish(claim)


def test_an_upload_is_named_for_its_folder_and_sends_what_is_missing(
    shell: Shell, uploaded: Release, folder: Path
) -> None:
    (folder / "README.md").write_text("# Poetry")

    again = shell.fletch("upload", folder, "--library", "tiny", "--unchecked", "--json")

    assert uploaded.adapter.full_name == "ada/poetry"
    assert uploaded.commit.message == "First"
    assert sorted(uploaded.commit.files.values_list("path", flat=True)) == sorted(making.PLAIN)
    assert again.document["number"] == 2
    assert again.document["bytes_sent"] == len("# Poetry")
    assert "uploading: " in again.err


def test_a_killed_upload_goes_on_from_what_had_come(shell: Shell, folder: Path) -> None:
    making.library()
    weights = b"weights!" * 2**22
    (folder / "adapter_model.safetensors").write_bytes(weights)
    command = ("upload", folder, "--library", "tiny", "--unchecked")
    first = subprocess.Popen(
        [sys.executable, "-m", "fletch", *map(str, command)],
        env=shell.environment(),
        cwd=shell.home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: bytes_come() > 2**20 or Release.objects.exists())
    first.kill()
    first.wait()

    second = shell.fletch(*command, "--json")

    kept = Release.objects.get().commit.files.get(path="adapter_model.safetensors").blob
    assert second.status == 0, second.err
    assert second.document["bytes_sent"] < len(weights)
    assert (kept.size, kept.sha256) == (len(weights), hashlib.sha256(weights).hexdigest())


def test_an_upload_for_an_organisation_is_its_own_and_counts_on_its_storage(
    shell: Shell, folder: Path, ada: User
) -> None:
    making.library()
    lab = organisations.found(name="rhyme-lab", by=ada)
    User.objects.filter(pk=ada.pk).update(quota_bytes=1)
    command = ("upload", folder, "--library", "tiny", "--unchecked", "--owner", "rhyme-lab")

    made = shell.fletch(*command, "--json")
    User.objects.filter(pk=lab.pk).update(quota_bytes=1)
    (folder / "README.md").write_text("# Poetry")
    full = shell.fletch(*command)

    assert made.status == 0, made.err
    assert made.document["adapter"] == "rhyme-lab/poetry"
    assert Release.objects.get().commit.author == ada
    assert full.status == 1
    assert "bytes of the storage of rhyme-lab are used" in full.err


def bytes_come() -> int:
    """How much the hub has of what is being uploaded."""
    return sum(path.stat().st_size for path in Path(settings.TEMPORARY).glob("piece-*"))


def test_a_library_that_there_is_not_is_said_before_anything_is_sent(shell: Shell, folder: Path) -> None:
    refused = shell.fletch("upload", folder, "--library", "tinny", "--json")

    assert refused.status == 4
    assert refused.document["error"] == "not_found"
    assert "uploading" not in refused.err


def test_the_exit_code_says_the_verdict(shell: Shell, uploaded: Release, ada: User) -> None:
    waiting = shell.fletch("status", "ada/poetry", "--follow", "--timeout", "0.1")
    making.accept(uploaded)
    ready = shell.fletch("status", "ada/poetry", "--follow", "--json")
    unserved = shell.fletch("status", "ada/poetry", "--until", "served")
    adapters.quarantine(release=uploaded, by=ada, reason="odd")
    held = shell.fletch("status", f"ada/poetry@{uploaded.oid}")

    assert waiting.status == 7
    assert "received" in waiting.out
    assert (ready.status, ready.document["status"]) == (0, "ready")
    assert unserved.status == 7
    assert held.status == 1
    assert "in quarantine: odd" in held.out


def test_it_is_live_when_the_serving_process_answers_with_its_version(
    shell: Shell, uploaded: Release, elsewhere: Elsewhere
) -> None:
    making.accept(uploaded)
    making.publish(Library.objects.get())
    words = ("status", "ada/poetry", "--until", "served")
    model = "/v1/models/tiny"

    nobody = shell.fletch(*words, FLETCH_SERVING="http://127.0.0.1:9")
    strange = shell.fletch(*words, FLETCH_SERVING=elsewhere.url)
    elsewhere.documents[model] = {"fletch": {"version": 7}}
    other = shell.fletch(*words, "--follow", "--timeout", "0.1", FLETCH_SERVING=elsewhere.url)
    elsewhere.documents[model] = {"fletch": {"version": 1}}
    live = shell.fletch(*words, "--follow", "--json", FLETCH_SERVING=elsewhere.url)

    assert [ran.status for ran in (nobody, strange, other, live)] == [7, 7, 7, 0]
    assert "ready, not live yet" in nobody.out
    assert "127.0.0.1:9 does not answer" in nobody.out
    assert "from what is no serving process" in strange.out
    assert "it answers with version 7, the hub serves version 1" in other.out
    assert live.document["live"]
    assert all("Authorization" not in headers for headers in elsewhere.heard)


def test_a_rejection_prints_every_finding_without_control_codes(shell: Shell, uploaded: Release) -> None:
    rejected(uploaded)

    said = shell.fletch("status", "ada/poetry", "--follow")

    assert said.status == 1
    assert "error: adapter_model.safetensors: layers.0: found 12 times; expected at most 10." in said.out
    assert "\x1b" not in said.out


def heeding_interrupts() -> None:
    """As under a terminal, also where these tests run in a background that ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_ends_the_watching_and_not_the_upload(shell: Shell, uploaded: Release) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "fletch", "status", "ada/poetry", "--follow"],
        env=shell.environment(),
        cwd=shell.home,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeding_interrupts,  # noqa: PLW1509 (this process has no threads here)
    )
    assert watching.stderr is not None
    assert "received" in watching.stderr.readline()

    watching.send_signal(signal.SIGINT)

    assert watching.wait(timeout=20) == 130
    assert "Traceback" not in watching.stderr.read()
    watching.stderr.close()
    uploaded.refresh_from_db()
    assert uploaded.status == Release.Status.RECEIVED


def test_a_terminal_gets_a_bar(shell: Shell, uploaded: Release) -> None:
    with terminal(shell, "status", "ada/poetry", "--follow", "--timeout", "1") as screen:
        shown = screen.read_until("waiting for a worker")

        assert screen.process.wait(30) == 7

    assert "\x1b[" in shown
    assert "━" in shown
