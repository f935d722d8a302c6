"""Adapters are found by what their cards mean, where the operator named an encoder: whom one may know of, in one order
on both databases, and by words wherever meaning cannot answer.
"""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from hub.accounts.models import User
from hub.adapters import commits, history, repositories
from hub.adapters.commits import Put
from hub.adapters.models import Adapter
from hub.blobs import services as blobs
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.library.models import Library
from hub.operations import checker, garbage
from hub.search import by_meaning, meanings
from hub.search.models import Meaning, QueryTable
from hub.search.ranking import fused
from tests.hub import making, meant
from tests.hub.conftest import api_of
from tests.pages import content

CARDS = {"office": (1, 0.1, 0), "sonnets": (0.2, 1, 0), "adding": (0, 0.1, 1)}


@pytest.fixture
def place(db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setattr(meanings, "READ_AFTER", timedelta())
    settings.SEARCH_ENCODER = meant.ENCODER
    return content.found_library()


@pytest.fixture
def shelf(ada: User, place: Library) -> QueryTable:
    """Three adapters whose cards are read, and share no word with a query."""
    for name in CARDS:
        making.upload(ada, place, name, content.files(name, "About nothing that anybody types."))
    made = meant.table()
    meant.read(made, CARDS)
    return made


def look(user: User | None = None, **asked: Any) -> Any:
    answer = api_of(user).get("/adapters", query_params={"by": "meaning", **asked})
    assert answer.status_code == 200, answer.content
    return answer.json()


def names(page: Any) -> list[str]:
    return [adapter["name"] for adapter in page["adapters"]]


def restate(name: str) -> None:
    """Give an adapter another card."""
    adapter = Adapter.objects.select_related("owner").get(name=name)
    [file] = making.staged({"README.md": b"About something else."})
    readme = Put("README.md", blobs.store_file(file.source))
    commits.commit(adapter=adapter, by=adapter.owner, branch=history.MAIN, changes=[readme], message="")


# ---------------------------------------------------------------- order


def test_the_nearest_comes_first_though_it_shares_no_word(shelf: QueryTable) -> None:
    page = look(search="polite letters")

    assert names(page) == ["office", "sonnets", "adding"]
    assert (page["by"], page["note"], page["total"]) == ("meaning", "", 3)
    assert names(look(search="poems")) == ["sonnets", "office", "adding"]
    assert names(look(search="letters", by="words")) == []


def test_who_is_near_and_has_the_words_too_comes_before_who_is_only_near(
    ada: User, place: Library, shelf: QueryTable
) -> None:
    making.upload(ada, place, "letters", content.files("letters", "x"))
    meant.read(shelf, {"letters": (1, 0.4, 0)})

    assert names(look(search="polite letters"))[0] == "office"
    assert names(look(search="letters"))[:2] == ["letters", "office"]
    assert names(look(search="letters", sort="name"))[:2] == ["letters", "office"]


def test_ranks_are_fused_by_their_reciprocals() -> None:
    assert fused([1, 2, 3], [3]) == [3, 1, 2]
    assert fused([5, 4], []) == [5, 4]
    assert fused([1, 2], [2, 1]) == [1, 2]
    assert fused() == []


def test_pages_and_facets_go_on_as_ever(ada: User, shelf: QueryTable) -> None:
    bob = making.user("bob")
    repositories.create(owner=bob, name="draft")

    first, second = (look(search="letters", limit=3, page=page) for page in (1, 2))

    assert (names(first), names(second)) == (["office", "sonnets", "adding"], ["draft"])
    assert (first["total"], first["pages"]) == (4, 2)
    assert {row["value"]: row["count"] for row in first["facets"]["owner"]} == {"ada": 3, "bob": 1}
    assert names(look(search="letters", owner="bob")) == ["draft"]
    assert "1 adapter is not read for meaning yet; it comes last" in first["note"]


def test_private_adapters_are_found_and_counted_for_their_people_alone(
    ada: User, place: Library, shelf: QueryTable
) -> None:
    making.upload(ada, place, "secret", content.files("secret", "x"), private=True)
    meant.read(shelf, {"secret": (1, 0, 0)})

    stranger, owner = look(making.user("eve"), search="letters"), look(ada, search="letters")

    assert (names(stranger), stranger["total"], stranger["note"]) == (["office", "sonnets", "adding"], 3, "")
    assert (names(owner)[0], owner["total"]) == ("secret", 4)


def test_what_is_read_later_and_who_is_gone_is_seen_at_once(
    ada: User, place: Library, shelf: QueryTable
) -> None:
    assert names(look(search="sums"))[0] == "adding"
    meant.read(shelf, {"office": (0, 0, 1)})
    assert names(look(search="sums"))[0] == "office"

    repositories.delete(adapter=Adapter.objects.get(name="office"), by=ada)
    making.upload(ada, place, "counting", content.files("c", "x"))
    meant.read(shelf, {"counting": (0, 0, 1)})

    assert names(look(search="sums")) == ["counting", "adding", "sonnets"]


def test_a_search_by_meaning_asks_a_fixed_number_of_questions(
    ada: User, place: Library, shelf: QueryTable
) -> None:
    look(search="letters")
    asked = []
    for numbers in (range(2), range(2, 8)):
        for number in numbers:
            making.upload(ada, place, f"song-{number}", content.files(number))
        with CaptureQueriesContext(connection) as captured:
            assert len(look(search="letters")["adapters"]) == 3 + numbers.stop
        asked.append(len(captured))

    assert asked == [7, 7]


# ---------------------------------------------------------------- by words after all


def test_where_meaning_cannot_answer_words_do_and_the_reason_is_said(
    ada: User, place: Library, settings: Settings
) -> None:
    making.upload(ada, place, "poems", content.files("p", "x"))

    assert by_meaning.PREPARED in said(look(search="poems"))
    meanings.ask()
    jobs.fail(making.take(JobKind.READ_CARDS), "there is no such encoder")
    assert by_meaning.FAILED in said(look(search="poems"))
    made = meant.table()
    meant.read(made, {"poems": (0, 1, 0)})
    assert look(search="poems")["by"] == "meaning"
    assert by_meaning.NO_WORD in look(search="zebra")["note"]
    settings.SEARCH_ENCODER = ""
    assert by_meaning.NOT_HERE in said(look(search="poems"))


def said(page: Any) -> str:
    assert (page["by"], names(page)) == ("words", ["poems"])
    return str(page["note"])


def test_a_table_whose_bytes_are_gone_leaves_the_words(
    ada: User, place: Library, caplog: pytest.LogCaptureFixture
) -> None:
    making.upload(ada, place, "poems", content.files("p", "x"))
    made = meant.table()
    meant.read(made, {"poems": (0, 1, 0)})
    blobs.storage().remove(str(made.vectors_id))

    assert by_meaning.UNREADABLE in said(look(search="poems"))
    assert str(made) in caplog.text


def test_another_way_than_these_is_refused(db: None) -> None:
    answer = api_of(None).get("/adapters?by=magic")

    assert answer.status_code == 400
    assert "'meaning'" in answer.json()["detail"]


# ---------------------------------------------------------------- what is due


def test_a_card_that_changes_is_read_again_by_one_job_for_all(
    ada: User,
    place: Library,
    shelf: QueryTable,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    assert list(meanings.due(shelf)) == []

    with django_capture_on_commit_callbacks(execute=True):
        for name in ("office", "adding"):
            restate(name)

    assert set(meanings.due(shelf).values_list("name", flat=True)) == {"office", "adding"}
    assert Job.objects.filter(kind=JobKind.READ_CARDS, state=Job.State.QUEUED).count() == 1
    assert names(look(search="letters"))[0] == "office"


def test_a_change_while_a_worker_reads_is_read_after_that(shelf: QueryTable) -> None:
    office = Adapter.objects.get(name="office")
    before = office.meaning.asked
    meanings.ask_again(office)
    meanings.ask()
    claim = making.take(JobKind.READ_CARDS)

    meanings.record(claim, shelf, [meanings.Read(office.pk, before, bytes(office.meaning.vector))])

    assert list(meanings.due(shelf)) == [office]


def test_an_adapter_that_is_deleted_while_a_worker_reads_is_left_out(ada: User, shelf: QueryTable) -> None:
    draft = repositories.create(owner=ada, name="draft")
    gone, vector = draft.pk, Meaning.objects.exclude(vector=b"")[0].vector
    repositories.delete(adapter=draft, by=ada)
    meanings.ask()

    meanings.record(making.take(JobKind.READ_CARDS), shelf, [meanings.Read(gone, 1, bytes(vector))])

    assert not Meaning.objects.filter(pk=gone).exists()


def test_what_nobody_asked_for_is_asked_for_later_but_not_after_a_failure(
    ada: User, place: Library, settings: Settings
) -> None:
    making.upload(ada, place, "poems", content.files("p", "x"))
    assert "1 adapters are not read" in next(checker.cards_are_read())
    assert meanings.ask_for_forgotten()
    assert list(checker.cards_are_read()) == []
    assert not meanings.ask_for_forgotten()
    jobs.fail(making.take(JobKind.READ_CARDS), "there is no such encoder")
    assert not meanings.ask_for_forgotten()
    meant.read(meant.table(), {"poems": (0, 1, 0)})
    assert not meanings.ask_for_forgotten()
    settings.SEARCH_ENCODER = ""
    assert not meanings.ask_for_forgotten()
    assert list(checker.cards_are_read()) == []


def test_a_card_that_changed_while_the_search_was_off_is_due_afterwards(
    shelf: QueryTable, settings: Settings
) -> None:
    settings.SEARCH_ENCODER = ""
    restate("office")
    settings.SEARCH_ENCODER = meant.ENCODER

    assert [adapter.name for adapter in meanings.due(shelf)] == ["office"]


def test_a_table_s_files_are_no_garbage_until_it_is_forgotten(shelf: QueryTable) -> None:
    named = {str(shelf.vectors_id), str(shelf.tokenizer_id)}

    assert not named & set(garbage.unreferenced(timedelta()).values_list("pk", flat=True))

    shelf.delete()

    assert named <= set(garbage.unreferenced(timedelta()).values_list("pk", flat=True))
