"""A hub with many adapters that have cards, files and a past, written straight into the database; nothing of them can be served."""

import hashlib
import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Unpack

from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from hub.accounts import services as accounts
from hub.accounts.models import User
from hub.adapters import facts, history
from hub.adapters.models import Adapter, AdapterTag, Commit, CommitFile, Ref, Release, ReleaseEvent
from hub.blobs import services as blobs
from hub.blobs.models import Blob
from hub.jobs import services as jobs
from hub.jobs.claims import Subject
from hub.jobs.models import Job, JobKind
from hub.library.models import Library
from hub.search import describing, words
from hub.search.models import Entry

PEOPLE, LIBRARIES, AT_ONCE = 300, 3, 500
PRIVATE = 50  # one adapter of so many
LAYERS, KINDS, RANK = 32, ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), 8
MODULES = [f"model.layers.{layer}.{kind}" for layer in range(LAYERS) for kind in KINDS]
WHOLE = 10  # one release of so many has the figures of all modules, which are large
CARD = """---
license: mit
---
# What it does

It writes what one asks for. Trained for three epochs on 4,200 rows.

| split | loss |
|---|---|
| train | 1.91 |
| held out | 2.07 |
"""
LICENCES = ("mit", "apache-2.0", "cc-by-4.0", "openrail", "")
TASKS = ("text-generation", "text-classification", "summarization", "translation")
SYLLABLES = (
    "ka",
    "lo",
    "mi",
    "ren",
    "tos",
    "ve",
    "qui",
    "sha",
    "bor",
    "nel",
    "zu",
    "pra",
    "dim",
    "fel",
    "gar",
)


@dataclass(frozen=True)
class Shelf:
    """What there is: words that occur, names of adapters, a library, and the token of somebody who uploads."""

    words: Sequence[str]
    adapters: Sequence[str]
    library: str
    token: str


def fill(count: int) -> Shelf:
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    draw = random.Random(1)
    vocabulary = sorted({"".join(draw.choices(SYLLABLES, k=draw.randint(2, 4))) for _ in range(3_000)})
    draw.shuffle(vocabulary)
    people = User.objects.bulk_create(
        User(username=f"person-{n}", email=f"{n}@example.org") for n in range(PEOPLE)
    )
    libraries = [_library(n) for n in range(LIBRARIES)]
    for start in range(0, count, AT_ONCE):
        _adapters(draw, vocabulary, people, libraries, range(start, min(count, start + AT_ONCE)))
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE)")  # as autovacuum leaves a database that was at rest
    _, token = accounts.issue_token(user=people[0], name="bench", scopes=("write",))
    known = Adapter.objects.filter(private=False).order_by("pk")
    names = [f"{owner}/{name}" for owner, name in known.values_list("owner__username", "name")]
    connection.close()
    return Shelf(vocabulary, names, libraries[0].slug, token)


def _library(number: int) -> Library:
    return Library.objects.create(
        slug=f"bench-{number}", name=f"Bench {number}", base_source=f"/bases/bench-{number}",
        base_spec={"name": "bench", "vocabulary": 32_000, "target_modules": _modules()}, base_digest="b" * 64,
        status=Library.Status.READY,
    )  # fmt: skip


def _modules() -> list[dict[str, Any]]:
    shape = {"kind": "linear", "d_in": 4096, "d_out": 4096, "spectral_norm": 12.5}
    return [{"name": name, **shape} for name in MODULES]


@transaction.atomic
def _adapters(
    draw: random.Random,
    vocabulary: Sequence[str],
    people: Sequence[User],
    libraries: Sequence[Library],
    numbers: Sequence[int],
) -> None:
    """Some adapters with a commit, a release, tags and an entry each; frequent words are many times as frequent as rare ones."""
    now = timezone.now()
    weights = [1 / (place + 10) for place in range(len(vocabulary))]
    said = [draw.choices(vocabulary, weights, k=60) for _ in numbers]
    adapters = Adapter.objects.bulk_create(
        Adapter(owner=draw.choice(people), name=f"{text[0]}-{text[1]}-{n}", name_key=f"{text[0]}-{text[1]}-{n}",
                library=draw.choice(libraries), downloads=int(draw.paretovariate(0.8)) % 100_000, private=n % PRIVATE == PRIVATE - 1)
        for n, text in zip(numbers, said, strict=True)
    )  # fmt: skip
    cards = [
        {"license": draw.choice(LICENCES), "pipeline_tag": draw.choice(TASKS), "tags": text[2:5]}
        for text in said
    ]
    commits = Commit.objects.bulk_create(
        Commit(adapter=one, oid=hashlib.sha1(str(one.pk).encode()).hexdigest(), tree_oid="0" * 40, author=one.owner,
               message="", created_at=now - timedelta(hours=draw.randrange(8_000)), card=card, config={"peft_type": "LORA"})
        for one, card in zip(adapters, cards, strict=True)
    )  # fmt: skip
    ranks = [draw.choice((4, 8, 8, 16, 16, 32, 64)) for _ in adapters]
    releases = Release.objects.bulk_create(
        Release(commit=commit, adapter=commit.adapter, number=1, status="ready", created_at=commit.created_at,
                settled_at=commit.created_at + timedelta(minutes=2), vectors_digest="d" * 64, vectors_size=1_800_000,
                factors_digest="d" * 64, factors_size=25_000_000, statistics=_statistics(rank, whole=commit.adapter.pk % WHOLE == 0))
        for commit, rank in zip(commits, ranks, strict=True)
    )  # fmt: skip
    for commit, release in zip(commits, releases, strict=True):
        commit.examined_as = release
    Commit.objects.bulk_update(commits, ["examined_as"])
    _past(releases)
    Ref.objects.bulk_create(
        Ref(adapter=c.adapter, kind=Ref.Kind.BRANCH, name=history.MAIN, commit=c) for c in commits
    )
    AdapterTag.objects.bulk_create(
        AdapterTag(adapter=c.adapter, tag=tag)
        for c in commits
        for tag in facts.tags_of(c.card, c.config, c.adapter.library)
    )
    Entry.objects.bulk_create(
        Entry(adapter=c.adapter, form=describing.FORM, words=words.document([c.adapter.name, c.adapter.owner.username, *text]), about=" ".join(text[:20]),
              task=c.card["pipeline_tag"], licence=c.card["license"], kind=Entry.Kind.LORA, rank=rank,
              standing=draw.choice(("ready",) * 9 + ("rejected",)), newest_at=c.created_at, likes=draw.randrange(30))
        for c, text, rank in zip(commits, said, ranks, strict=True)
    )  # fmt: skip


def _past(releases: Sequence[Release]) -> None:
    """Files, of which cards are alike, events, and the jobs that are done."""
    readme = blobs.store(io.BytesIO(CARD.encode()))
    weights = Blob.objects.bulk_create(
        Blob(sha256=hashlib.sha256(str(one.pk).encode()).hexdigest(), size=8_000_000, git_oid="0" * 40) for one in releases
    )  # fmt: skip
    CommitFile.objects.bulk_create(
        CommitFile(commit=one.commit, path=path, blob=blob)
        for one, content in zip(releases, weights, strict=True)
        for path, blob in (("README.md", readme), ("adapter_config.json", readme), ("adapter_model.safetensors", content))
    )  # fmt: skip
    ReleaseEvent.objects.bulk_create(
        ReleaseEvent(release=one, what=what, by=one.commit.author, at=one.commit.created_at)
        for one in releases
        for what in ("received", "validated", "ready")
    )
    Job.objects.bulk_create(job for one in releases for job in _jobs(one))


def _jobs(release: Release) -> Iterator[Job]:
    for kind in (JobKind.VALIDATE, JobKind.VECTORS):
        yield done_job(kind, release_id=release.pk)


def done_job(kind: JobKind, **subject: Unpack[Subject]) -> Job:
    now = timezone.now()
    return Job(
        kind=kind, subject=subject, key=jobs.key_of(kind, subject), queue=jobs.QUEUE_OF[kind], state=Job.State.DONE, attempt=1, token=1,
        started_at=now, finished_at=now, log="static checks: 14 files and fields looked at\nnumber checks: 224 target modules\n" * 3,
    )  # fmt: skip


def _statistics(rank: int, *, whole: bool) -> dict[str, Any]:
    """What a worker computed of a release, of all modules where it is whole."""
    summary = {"rank_smallest": rank, "rank_largest": rank, "modules": len(MODULES), "kinds": sorted(KINDS)}
    sigma = [round(1.37 * 0.81**place, 6) for place in range(RANK)]
    module = {"rank": RANK, "sigma": sigma, "norm": 2.13, "error": 1.3e-7, "ambiguous": False}
    return {
        "norm": 1.0,
        "parameters": 10_000,
        "largest_error": 0.0,
        "ambiguous_modules": 0,
        "untouched_modules": [],
        "summary": summary,
        "modules": dict.fromkeys(MODULES, module) if whole else {},
    }
