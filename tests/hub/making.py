"""Small real things for the hub's tests: users, libraries, uploads, and a worker that does nothing but record."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile

from hub.accounts.models import User
from hub.adapters import gates
from hub.adapters import services as adapters
from hub.adapters.gates import Candidate
from hub.adapters.introductions import Introduction
from hub.adapters.models import Gates, Release
from hub.adapters.staging import StagedFile
from hub.errors import FindingJson
from hub.indexes import checkpoints
from hub.indexes import services as indexes
from hub.indexes.models import ComposedCheckpoint, IndexVersion
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import JobKind, Queue
from hub.library import services as libraries
from hub.library.models import Library
from hub.limits import Limits

CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
PLAIN = {"adapter_config.json": json.dumps(CONFIG).encode(), "adapter_model.safetensors": b"weights"}


def user(name: str = "ada", **fields: object) -> User:
    return User.objects.create_user(
        username=name, email=f"{name}@example.org", password="correct horse", **fields
    )


def library(slug: str = "tiny", **fields: object) -> Library:
    """A library whose base has been inspected."""
    found = libraries.create_library(slug=slug, base_source="/bases/tiny", **fields)  # type: ignore[arg-type]
    claim = take(JobKind.INSPECT_BASE)
    libraries.record_base(claim, found.pk, {"name": "tiny", "target_modules": []}, digest="b" * 64)
    jobs.finish(claim)
    found.refresh_from_db()
    return found


def staged(files: Mapping[str, bytes], folder: Path | None = None) -> list[StagedFile]:
    place = folder or settings.TEMPORARY
    found = []
    for path, content in files.items():
        source = place / f"staged-{secrets.token_hex(8)}"
        source.write_bytes(content)
        found.append(StagedFile(path, source))
    return found


def upload(
    owner: User, place: Library, name: str = "poetry", files: Mapping[str, bytes] = PLAIN, **fields: object
) -> Release:
    return adapters.receive_upload(owner=owner, library=place, name=name, files=staged(files), **fields)  # type: ignore[arg-type]


def take(kind: JobKind) -> Claim:
    """Claim the next job of this kind."""
    due = jobs.due(Queue.values).filter(kind=kind).first()
    assert due is not None, f"no {kind} is waiting"
    claim = jobs.claim(queues=Queue.values, job_id=due.pk)
    assert claim is not None
    return claim


def accept(
    release: Release, *, doubts: Sequence[FindingJson] = (), profile: Introduction | None = None
) -> None:
    """Do what workers do for a good upload, up to ready."""
    claim = take(JobKind.VALIDATE)
    adapters.record_report(claim, release.pk, [], {"loss": 1.0})
    jobs.finish(claim)
    claim = take(JobKind.VECTORS)
    digest = release.commit.oid + "0" * 24
    adapters.record_vectors(
        claim,
        release.pk,
        vectors_digest=digest,
        vectors_size=10,
        factors_digest=digest,
        factors_size=20,
        statistics={"norm": 1.0},
        fingerprint=b"\0" * 16,
        profile=profile,
        doubts=doubts,
    )
    jobs.finish(claim)


def publish(place: Library) -> IndexVersion:
    """Do what workers do for an index job, and for the promotion that may follow."""
    claim = take(JobKind.INDEX)
    version = planned(claim, place)
    indexes.record_published(claim, version.pk, f"{version.number:064x}", 30)
    jobs.finish(claim)
    while (rest := jobs.claim(queues=Queue.values)) is not None:
        assert rest.kind in {JobKind.PROMOTE, JobKind.INDEX, JobKind.CLUSTER}
        jobs.finish(rest)
    place.refresh_from_db()
    version.refresh_from_db()
    return version


def planned(claim: Claim, place: Library) -> IndexVersion:
    version = indexes.plan_version(claim, place.pk)
    assert version is not None, "nothing changed, so nothing was planned"
    return version


def checkpoint(version: IndexVersion, files: Mapping[str, bytes]) -> ComposedCheckpoint:
    """Do what workers do to compose a version, with these files."""
    found = checkpoints.request_checkpoint(version=version, kind="routed", requested_by=None)
    claim = take(JobKind.COMPOSE)
    checkpoints.record_checkpoint(claim, found.pk, {file.path: file.source for file in staged(files)})
    jobs.finish(claim)
    found.refresh_from_db()
    return found


def ready(owner: User, place: Library, name: str = "poetry", files: Mapping[str, bytes] = PLAIN) -> Release:
    release = upload(owner, place, name, files)
    accept(release)
    release.refresh_from_db()
    return release


DOUBT: FindingJson = {
    "check": "share",
    "severity": "warning",
    "file": "routing vectors",
    "field": "",
    "found": "0.97 of neutral text",
    "expected": "at most 0.30",
    "fix": "A maintainer decides.",
}


def gate(release: Release, *, source: str = "samples", held: bool = False) -> Gates:
    """Do what workers do to train gates, whatever the library says."""
    number = release.gates.count() + 1
    jobs.enqueue(JobKind.GATES, release_id=release.pk)
    claim = take(JobKind.GATES)
    candidate = Candidate(
        source=source,
        vectors_digest=f"{number:063x}9",
        vectors_size=15,
        rows=40,
        curve=[(0, 1.5, 1.6), (10, 0.5, 0.75)],
        best_step=10,
        seconds=2.0,
        peak_bytes=1_000_000,
        findings=[DOUBT] if held else [],
    )
    gates.record(claim, release.pk, candidate)
    jobs.finish(claim)
    return release.gates.get(number=number)


def finish(kind: JobKind) -> None:
    """Claim the next job of this kind, and say that it is done."""
    jobs.finish(take(kind))


def limits(**changes: float) -> Limits:
    """The usual limits with some changed."""
    return replace(settings.LIMITS, **changes)  # type: ignore[arg-type]


def form_file(name: str, content: bytes = b"{}") -> SimpleUploadedFile:
    """A file as a form sends it."""
    return SimpleUploadedFile(name, content)
