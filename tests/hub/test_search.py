"""Adapters are found by the same words, facets and orders wherever one asks, on both databases, and only by whom
they may be seen.
"""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.accounts.models import User
from hub.adapters import commits, history, repositories
from hub.adapters import services as adapters
from hub.adapters.commits import Put
from hub.adapters.models import Adapter, Like
from hub.blobs import services as blobs
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from hub.library.models import Library
from hub.operations import checker
from hub.search import describing, services, words
from hub.search.models import Entry
from tests.hub import making
from tests.hub.conftest import api_of
from tests.pages import content

CARD = """---
license: MIT
pipeline_tag: text-generation
tags: [poems, "Ünïcode"]
---
# Sonnets

![a picture](https://example.org/never-a-word.png)

Writes **sonnets** about the sea, as [Neruda](https://example.org/hidden) did. 詩を書く.

Second paragraph: zebra.
"""


@pytest.fixture
def place(db: None) -> Library:
    return content.found_library()


def found(user: User | None = None, **asked: Any) -> list[str]:
    answer = api_of(user).get("/adapters", query_params=asked)
    assert answer.status_code == 200, answer.content
    return [adapter["full_name"] for adapter in answer.json()["adapters"]]


def counts(user: User | None = None, **asked: Any) -> dict[str, dict[str, int]]:
    facets = api_of(user).get("/adapters", query_params=asked).json()["facets"]
    return {name: {row["value"]: row["count"] for row in rows} for name, rows in facets.items()}


def entry(name: str) -> Entry:
    return Entry.objects.get(adapter__name=name)


def stale() -> list[str]:
    return list(checker.adapters_are_found_by_what_they_say())


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Plural-Forms_v2.1", ["plural", "forms", "v2", "1"]),
        ("Café CAFE\u0301 ĳ ﬁn", ["cafe", "ij", "fin"]),
        ("STRASSE straße", ["strasse"]),
        ("詩を書く", ["詩", "を", "書", "く"]),
        ("שָׁלוֹם مُحَمَّد", ["שלום", "محمد"]),
        ("हिन्दी", ["हिनदी"]),
        ("🦄 \0 \"'*()&|!:-^~ <script>", ["script"]),
        ("x" * 100, ["x" * words.LONGEST]),
    ],
)
def test_a_text_is_taken_apart(text: str, expected: list[str]) -> None:
    assert words.words(text) == expected


def test_a_document_has_each_word_once_and_names_in_parts() -> None:
    assert words.document(["FlanT5 quill", "quill https://example.org/x"]) == "flant5 quill flan t5"


def test_words_find_what_name_owner_tags_and_card_say(ada: User, place: Library) -> None:
    making.upload(ada, place, "sonnets", content.files("a", CARD))
    making.upload(ada, place, "other", content.files("b", None))
    said = (
        "son",
        "SONNETS sea",
        "zebra neruda",
        "ada sonn",
        "ada/sonnets",
        "unicode",
        "ünïco",
        "書",
        "mit",
        "poems",
    )
    unsaid = ("sonnets submarine", "onnets", "never", "hidden")

    answers = {search: found(search=search) for search in (*said, *unsaid)}

    assert answers == {search: ["ada/sonnets"] if search in said else [] for search in answers}
    clients = {search: Client().get("/api/models", {"search": search}).json() for search in answers}
    assert {search: [model["id"] for model in models] for search, models in clients.items()} == answers


HOSTILE = (
    "'", '"', '"a" OR "b"', "a' OR '1'='1", "NEAR(a b)", "a AND", "NOT", "*", "a*", "words:a", "a & !b", "a:*|b",
    "\\", "%", "_", "\0", "a\0b", "🦄", "x" * 10_000, "word " * 2_000, "\u202eabc", "שלום", "-a", "^a", "+a",
    "'; DROP TABLE search_entry; --",
)  # fmt: skip


def test_nothing_that_a_stranger_types_is_an_error(place: Library) -> None:
    for search in HOSTILE:
        answer = Client().get("/api/v1/adapters", {"search": search, "owner": search, "tag": search})
        assert answer.status_code == 200, search
        assert answer.json()["adapters"] == []
        assert Client().get("/api/models", {"search": search}).status_code == 200


def test_the_best_match_comes_first(ada: User, place: Library) -> None:
    for number, name in enumerate(("my-sql-lines", "sql", "sql-queries", "other")):
        making.upload(ada, place, name, content.files(number, "About sql."))
    Adapter.objects.filter(name="other").update(downloads=99)

    assert [name.removeprefix("ada/") for name in found(search="sql")] == [
        "sql",
        "sql-queries",
        "my-sql-lines",
        "other",
    ]


# ---------------------------------------------------------------- facets, order, pages


def test_facets_say_what_choosing_another_value_would_give(ada: User, place: Library) -> None:
    bob = making.user("bob")
    content.ready(ada, place, "one", card=CARD, layers=1, rank=4)
    content.ready(ada, place, "two", card=CARD, layers=1, rank=16)
    content.ready(bob, place, "three", card="", layers=1, rank=16)
    making.upload(bob, place, "four", content.files("four", None))

    everything = counts()
    assert everything["library"] == {"demo": 4}
    assert everything["rank"] == {"1-4": 1, "9-16": 2}
    assert everything["kind"] == {"lora": 4}
    assert everything["licence"] == {"mit": 2}
    assert everything["task"] == {"text-generation": 2}
    assert everything["status"] == {"ready": 3, "examined": 1}
    assert everything["owner"] == {"ada": 2, "bob": 2}

    chosen = counts(rank="9-16", owner="bob")
    assert chosen["rank"] == {"9-16": 1}
    assert chosen["owner"] == {"ada": 1, "bob": 1}
    assert chosen["status"] == {"ready": 1}
    assert found(rank=["9-16", "1-4"], owner="ada") == ["ada/two", "ada/one"]
    assert everything["tag"] == {"poems": 2, "Ünïcode": 2}  # no "peft", "lora" or "license:MIT"
    assert chosen["tag"] == {}
    assert counts(rank="9-16", tag="poems")["tag"] == {"poems": 1, "Ünïcode": 1}
    assert found(tag="poems", rank="1-4") == ["ada/one"]
    assert found(tag=["poems", "none"]) == []


def test_orders(ada: User, place: Library) -> None:
    for number, name in enumerate(("b", "c", "a")):
        making.upload(ada, place, name, content.files(number, None))
    Adapter.objects.filter(name="c").update(downloads=5)
    repositories.like(adapter=Adapter.objects.get(name="b"), by=ada)

    assert found() == found(sort="new") == ["ada/a", "ada/c", "ada/b"]
    assert found(sort="downloads") == ["ada/c", "ada/a", "ada/b"]
    assert found(sort="likes") == ["ada/b", "ada/a", "ada/c"]
    assert found(sort="name") == ["ada/a", "ada/b", "ada/c"]


def test_pages_are_cut_after_filtering(ada: User, place: Library) -> None:
    for number in range(5):
        making.upload(ada, place, f"song-{number}", content.files(number, None))
        making.upload(ada, place, f"poem-{number}", content.files(-1 - number, None))

    second = api_of(None).get("/adapters?search=song&limit=2&page=2&sort=name").json()

    assert [one["name"] for one in second["adapters"]] == ["song-2", "song-3"]
    assert (second["total"], second["page"], second["pages"]) == (5, 2, 3)
    assert api_of(None).get("/adapters?limit=2&page=99").json()["page"] == 5


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("rank=8", "1-4, 5-8"),
        ("sort=oldest", "'best'"),
        ("status=broken", "'ready'"),
        ("kind=lokr", "'lora'"),
        ("page=0", "page"),
        ("limit=1000", "100"),
    ],
)
def test_what_no_facet_has_is_refused_with_the_choices(db: None, asked: str, named: str) -> None:
    answer = api_of(None).get(f"/adapters?{asked}")

    assert answer.status_code == 400
    assert named in answer.json()["detail"]


# ---------------------------------------------------------------- who sees what


def test_private_adapters_are_found_and_counted_for_their_people_alone(ada: User, place: Library) -> None:
    eve, staff = making.user("eve"), making.user("staff", is_staff=True)
    making.upload(ada, place, "secret", content.files("s", CARD), private=True)

    for stranger in (None, eve):
        assert found(stranger, search="sonnets") == []
        assert counts(stranger)["owner"] == {}
        assert counts(stranger)["licence"] == counts(stranger)["tag"] == {}
    for friend in (ada, staff):
        assert found(friend, search="sonnets") == ["ada/secret"]
        assert counts(friend)["licence"] == {"mit": 1}


# ---------------------------------------------------------------- entries are true


def test_an_entry_follows_its_adapter(ada: User, place: Library) -> None:
    release = making.upload(ada, place, "poetry", content.files("p", CARD))
    first = entry("poetry")
    assert (first.standing, first.task, first.licence, first.kind) == (
        "examined",
        "text-generation",
        "mit",
        "lora",
    )
    assert first.about == "Writes sonnets about the sea, as Neruda did. 詩を書く."
    content.judge(release)
    content.compute(release, content.statistics(1, layers=1, rank=8))
    assert (entry("poetry").standing, entry("poetry").rank) == ("ready", 8)
    adapters.quarantine(release=release, by=ada, reason="why not")
    assert entry("poetry").standing == "quarantined"
    release.refresh_from_db()
    adapters.restore(release=release, by=ada)
    assert entry("poetry").standing == "ready"
    adapters.yank(release=release, by=ada)
    assert entry("poetry").standing == "yanked"
    readme = Put("README.md", stored(b"About walruses."))
    commits.commit(adapter=release.adapter, by=ada, branch=history.MAIN, changes=[readme], message="")
    assert found(search="walrus") == ["ada/poetry"]
    assert found(search="sonnets") == []
    assert stale() == []


def test_a_rejected_upload_and_a_renamed_adapter(ada: User, place: Library) -> None:
    release = making.upload(ada, place, "wrong", content.files("w", None))
    content.judge(release, content.FINDINGS)
    assert entry("wrong").standing == "rejected"

    repositories.rename(adapter=release.adapter, name="right")

    assert found(search="right") == ["ada/right"]
    assert found(search="wrong") == []
    assert stale() == []


def test_likes_are_counted_once_a_person(ada: User, place: Library) -> None:
    adapter = repositories.create(owner=ada, name="empty")
    for _ in range(2):
        repositories.like(adapter=adapter, by=ada)
    assert entry("empty").likes == 1
    for _ in range(2):
        repositories.unlike(adapter=adapter, by=ada)
    assert (entry("empty").likes, entry("empty").standing) == (0, "empty")
    repositories.delete(adapter=adapter, by=ada)
    assert found(search="empty") == []


def test_what_is_untrue_is_seen_and_mended(ada: User, place: Library) -> None:
    release = making.upload(ada, place, "poetry", content.files("p", CARD))
    Entry.objects.update(words="nothing of it", licence="gpl")
    Like.objects.create(adapter=release.adapter, user=ada)
    assert [line.partition(";")[0] for line in stale()] == [
        "ada/poetry is searched by an old words, licence, likes"
    ]

    assert services.reindex() == 1

    assert stale() == []
    assert found(search="sonnets") == ["ada/poetry"]
    assert services.reindex() == 0


def test_older_rules_are_not_followed_up_again_after_a_failure(ada: User, place: Library) -> None:
    making.upload(ada, place, "poetry", content.files("p", CARD))
    Entry.objects.update(form=describing.FORM - 1)
    assert services.ask_for_outdated()

    jobs.fail(making.take(JobKind.DESCRIBE), "the disk is full")

    assert not services.ask_for_outdated()


@pytest.mark.django_db
def test_the_database_has_its_index_of_words() -> None:
    """SQLite drops triggers when it rebuilds a table."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'search_entry'"
            )
            assert len(cursor.fetchall()) == 3
        else:
            cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'search_entry_word_vector'")
            assert "gin" in cursor.fetchone()[0]


def test_a_search_asks_a_fixed_number_of_questions(ada: User, place: Library) -> None:
    path = "/api/v1/adapters?search=song&owner=ada&tag=lora&sort=likes"
    asked = []
    for numbers in (range(2), range(2, 12)):
        for number in numbers:
            making.upload(ada, place, f"song-{number}", content.files(number))
        with CaptureQueriesContext(connection) as captured:
            assert len(Client().get(path).json()["adapters"]) == numbers.stop
        asked.append(len(captured))

    assert asked == [5, 5]


def stored(text: bytes) -> Any:
    [file] = making.staged({"README.md": text})
    return blobs.store_file(file.source)
