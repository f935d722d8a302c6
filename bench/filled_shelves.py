"""A hub with many adapters that have cards, written straight into the database; nothing of them can be served."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from hub.accounts import services as accounts
from hub.accounts.models import User
from hub.adapters import facts, history
from hub.adapters.models import Adapter, AdapterTag, Commit, Ref, Release
from hub.library.models import Library
from hub.search import words
from hub.search.models import Entry

PEOPLE, LIBRARIES, AT_ONCE = 300, 3, 500
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
            cursor.execute("ANALYZE")
    _, token = accounts.issue_token(user=people[0], name="bench", scopes=("write",))
    names = [f"{owner}/{name}" for owner, name in Adapter.objects.values_list("owner__username", "name")]
    connection.close()
    return Shelf(vocabulary, names, libraries[0].slug, token)


def _library(number: int) -> Library:
    return Library.objects.create(
        slug=f"bench-{number}", name=f"Bench {number}", base_source=f"/bases/bench-{number}",
        base_spec={"name": "bench", "target_modules": []}, base_digest="b" * 64, status=Library.Status.READY,
    )  # fmt: skip


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
                library=draw.choice(libraries), downloads=int(draw.paretovariate(0.8)) % 100_000)
        for n, text in zip(numbers, said, strict=True)
    )  # fmt: skip
    cards = [
        {"license": draw.choice(LICENCES), "pipeline_tag": draw.choice(TASKS), "tags": text[2:5]}
        for text in said
    ]
    commits = Commit.objects.bulk_create(
        Commit(adapter=one, oid=hashlib.sha1(str(one.pk).encode()).hexdigest(), tree_oid="0" * 40, author=one.owner,
               message="", created_at=now, card=card, config={"peft_type": "LORA"})
        for one, card in zip(adapters, cards, strict=True)
    )  # fmt: skip
    ranks = [draw.choice((4, 8, 8, 16, 16, 32, 64)) for _ in adapters]
    releases = Release.objects.bulk_create(
        Release(commit=commit, adapter=commit.adapter, number=1, status="ready", settled_at=now, vectors_digest="d" * 64,
                factors_digest="d" * 64, statistics=_statistics(rank))
        for commit, rank in zip(commits, ranks, strict=True)
    )  # fmt: skip
    for commit, release in zip(commits, releases, strict=True):
        commit.examined_as = release
    Commit.objects.bulk_update(commits, ["examined_as"])
    Ref.objects.bulk_create(
        Ref(adapter=c.adapter, kind=Ref.Kind.BRANCH, name=history.MAIN, commit=c) for c in commits
    )
    AdapterTag.objects.bulk_create(
        AdapterTag(adapter=c.adapter, tag=tag)
        for c in commits
        for tag in facts.tags_of(c.card, c.config, c.adapter.library)
    )
    Entry.objects.bulk_create(
        Entry(adapter=c.adapter, words=words.document([c.adapter.name, c.adapter.owner.username, *text]), about=" ".join(text[:20]),
              task=c.card["pipeline_tag"], licence=c.card["license"], kind=Entry.Kind.LORA, rank=rank,
              standing=draw.choice(("ready",) * 9 + ("rejected",)), newest_at=now, likes=draw.randrange(30))
        for c, text, rank in zip(commits, said, ranks, strict=True)
    )  # fmt: skip


def _statistics(rank: int) -> dict[str, Any]:
    summary = {"rank_smallest": rank, "rank_largest": rank, "modules": 12, "kinds": ["q_proj", "v_proj"]}
    return {
        "norm": 1.0,
        "parameters": 10_000,
        "largest_error": 0.0,
        "ambiguous_modules": 0,
        "untouched_modules": [],
        "summary": summary,
        "modules": {},
    }
