"""Who may push what to which other hub, what is said of it, and that its token is kept from everybody."""

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from pytest_django import Settings

from hub.accounts.models import User
from hub.adapters import services as adapters
from hub.adapters.cards import read_card, with_facts
from hub.errors import Conflict, Fenced, Invalid
from hub.exports import cargo, sealing, services
from hub.exports.models import Export
from hub.indexes.models import ComposedCheckpoint
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.library.models import Library
from hub.operations import checker
from tests.hub import making
from tests.hub.conftest import api_of

pytestmark = pytest.mark.django_db
THERE, ELSEWHERE = "https://there.example", "https://elsewhere.example"
TOKEN = "hf_of_the_other_hub"
WISH = {"repo": "eve/verses", "token": TOKEN}
OF_POETRY = "/adapters/ada/poetry/exports"


@pytest.fixture(autouse=True)
def allowed(settings: Settings) -> None:
    settings.EXPORT_TO = (THERE, ELSEWHERE)


@pytest.fixture
def cleo() -> User:
    return making.user("cleo")


@pytest.fixture
def place(cleo: User) -> Library:
    return making.library(maintainer=cleo)


@pytest.fixture
def checkpoint(place: Library, ada: User) -> ComposedCheckpoint:
    making.ready(ada, place)
    return making.checkpoint(making.publish(place), {"x.bin": b"x"})


def asked(user: User, path: str = OF_POETRY, **body: object) -> tuple[int, dict[str, Any]]:
    answer = api_of(user).post(path, {**WISH, **body})
    assert TOKEN not in answer.content.decode()
    return answer.status_code, answer.json()


def test_an_owner_asks_and_follows(place: Library, ada: User) -> None:
    release = making.ready(ada, place)

    status, said = asked(ada)

    assert status == 202
    assert (said["adapter"], said["release"], said["checkpoint"]) == ("ada/poetry", release.oid, None)
    assert (said["endpoint"], said["repo"], said["status"]) == (THERE, "eve/verses", "requested")
    assert [job["kind"] for job in said["jobs"]] == ["workers.export"]
    claim = making.take(JobKind.EXPORT)
    services.record_done(claim, said["id"], commit="c" * 40)
    jobs.finish(claim)
    one = api_of(ada, "read").get(f"{OF_POETRY}/{said['id']}").json()
    assert (one["status"], one["commit"]) == ("done", "c" * 40)
    assert one["url"] == f"{THERE}/eve/verses/commit/{'c' * 40}"
    assert api_of(ada, "read").get(OF_POETRY).json() == [one]


def test_nobody_else_asks_or_looks(place: Library, ada: User, cleo: User) -> None:
    making.ready(ada, place)
    number = asked(ada)[1]["id"]

    for other in (cleo, making.user("bob")):
        assert asked(other)[0] == 403
        assert api_of(other).get(OF_POETRY).status_code == 403
        assert api_of(other).get(f"{OF_POETRY}/{number}").status_code == 403
    assert Client().get(f"/api/v1{OF_POETRY}").status_code == 403
    assert api_of(ada, "read").post(OF_POETRY, WISH).status_code == 403
    assert Export.objects.count() == 1


def test_a_checkpoint_goes_out_by_its_maintainer(
    checkpoint: ComposedCheckpoint, ada: User, cleo: User
) -> None:
    path = f"/checkpoints/{checkpoint.pk}/exports"
    assert asked(ada, path)[0] == 403
    assert api_of(ada).get(path).status_code == 403
    assert api_of(cleo, "write").post(path, WISH).status_code == 403

    status, said = asked(cleo, path, to=ELSEWHERE)

    assert status == 202
    assert (said["checkpoint"], said["adapter"], said["endpoint"]) == (checkpoint.pk, None, ELSEWHERE)
    assert [one["id"] for one in api_of(cleo).get(path).json()] == [said["id"]]
    assert api_of(cleo).get(f"{path}/{said['id']}").json()["id"] == said["id"]
    assert api_of(cleo).get(f"{path}/{said['id'] + 1}").status_code == 404


def test_whoever_is_no_maintainer_or_has_no_account_any_more_pushes_nothing(
    checkpoint: ComposedCheckpoint, ada: User, cleo: User
) -> None:
    asked(cleo, f"/checkpoints/{checkpoint.pk}/exports")
    asked(ada)
    Library.objects.update(maintainer=ada)
    User.objects.filter(pk=ada.pk).update(is_active=False)

    of_checkpoint, of_poetry = Export.objects.order_by("pk")

    with pytest.raises(Conflict, match="cleo asked for this export and maintains tiny no longer"):
        cargo.cargo_of(of_checkpoint)
    with pytest.raises(Conflict, match="has no account here any more"):
        cargo.cargo_of(of_poetry)


SENSELESS = [
    ({"repo": "verses"}, "repo is 'verses'; expected owner/name"),
    ({"to": "https://there.example.evil.example"}, f"exports to ({THERE}, {ELSEWHERE})"),
    ({"token": "two words"}, "token is not one"),
    ({"token": "ä"}, "token is not one"),
    ({"token": ""}, "token is not one"),
    ({"repo": "a/b\0"}, "expected owner/name"),
]


@pytest.mark.parametrize(("body", "said"), SENSELESS)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    place: Library, ada: User, body: dict[str, str], said: str
) -> None:
    making.ready(ada, place)
    status, answer = asked(ada, **body)
    assert status == 400
    assert said in answer["detail"]
    assert not Export.objects.exists()


def test_exporting_is_off_unless_the_operator_says_where_to(
    place: Library, ada: User, settings: Settings
) -> None:
    settings.EXPORT_TO = ()
    making.ready(ada, place)
    status, answer = asked(ada)
    assert status == 501
    assert "FLETCH_EXPORT_TO" in answer["detail"]


def test_what_is_rejected_or_in_quarantine_is_not_exported(place: Library, ada: User) -> None:
    bad = making.upload(ada, place, "bad")
    claim = making.take(JobKind.VALIDATE)
    adapters.record_report(claim, bad.pk, [{**making.DOUBT, "severity": "error"}])
    jobs.finish(claim)
    adapters.quarantine(release=making.ready(ada, place), by=None, reason="a doubt")

    assert asked(ada, "/adapters/ada/bad/exports")[0] == 409
    status, answer = asked(ada)
    assert status == 409
    assert "in quarantine, so it is not exported: a doubt" in answer["detail"]


def test_asking_again_on_the_way_changes_the_token_and_makes_no_second(place: Library, ada: User) -> None:
    making.ready(ada, place)
    first, again = asked(ada)[1], asked(ada, token="hf_another")[1]

    assert first["id"] == again["id"]
    assert sealing.opened(Export.objects.get().token) == "hf_another"
    assert Job.objects.filter(kind=JobKind.EXPORT).count() == 1
    assert asked(ada, repo="eve/more")[1]["id"] != first["id"]


def test_one_person_has_a_bounded_number_on_their_way(
    place: Library, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "MOST_AT_ONCE", 1)
    making.ready(ada, place)
    assert asked(ada)[0] == 202
    assert asked(ada, repo="eve/more")[0] == 409


def test_a_token_lies_sealed_in_the_database_and_opens_with_our_key_only(
    place: Library, ada: User, settings: Settings
) -> None:
    making.ready(ada, place)
    asked(ada)

    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM exports_export")
        assert TOKEN not in str(cursor.fetchall())
        cursor.execute("SELECT subject, log, key FROM jobs_job")
        assert TOKEN not in str(cursor.fetchall())
    export = Export.objects.get()
    assert sealing.opened(export.token) == TOKEN
    settings.SECRET_KEY = "another" * 10
    with pytest.raises(Invalid, match="cannot be read any more"):
        sealing.opened(export.token)


def test_whatever_the_end_the_token_is_forgotten(place: Library, ada: User) -> None:
    making.ready(ada, place)
    asked(ada)
    claim = making.take(JobKind.EXPORT)
    services.record_delay(claim, Export.objects.get().pk, note=f"{THERE} answers 503")
    assert Export.objects.get().token

    jobs.fail(claim, "OSError: /srv/secret is full")

    export = Export.objects.get()
    assert (export.status, export.token, export.note) == ("failed", "", f"{THERE} answers 503")
    with pytest.raises(IntegrityError), transaction.atomic():
        Export.objects.update(token="kept")


def test_a_failure_of_ours_tells_nobody_of_our_machine(place: Library, ada: User) -> None:
    making.ready(ada, place)
    number = asked(ada)[1]["id"]
    jobs.fail(making.take(JobKind.EXPORT), "OSError: /srv/secret is full")

    one = api_of(ada).get(f"{OF_POETRY}/{number}").json()
    assert (one["status"], one["note"]) == ("failed", services.OUR_FAULT)
    assert "/srv" not in str(one)


def test_who_lost_the_claim_records_nothing(place: Library, ada: User) -> None:
    making.ready(ada, place)
    asked(ada)
    claim = making.take(JobKind.EXPORT)
    jobs.give_back(claim)

    with pytest.raises(Fenced):
        services.record_done(claim, Export.objects.get().pk, commit="c" * 40)

    assert Export.objects.get().status == "requested"


def test_the_operator_sees_exports_without_their_tokens(place: Library, ada: User) -> None:
    making.ready(ada, place)
    asked(ada)
    staff = Client()
    staff.force_login(making.user("olga", is_staff=True, is_superuser=True))
    page = staff.get(f"/admin/exports/export/{Export.objects.get().pk}/change/").content.decode()
    assert THERE in page
    assert Export.objects.get().token not in page


CARDS = {
    b"": "",
    b"# Poems\n": "# Poems\n",
    b"---\nlicense: mit\n---\n# Poems\n": "# Poems\n",
    b"---\n: : [\n---\n# Poems\n": "\n---\n: : [\n---\n# Poems\n",
    b"---\n- a list\n---\n# Poems\n": "\n---\n- a list\n---\n# Poems\n",
}


@pytest.mark.parametrize(("card", "body"), CARDS.items())
def test_a_card_keeps_what_it_says_and_says_more(card: bytes, body: str) -> None:
    fuller = read_card(with_facts(card, {"fletch_origin": "x", "new": 1}, unless_said={"license": "other"}))

    assert not fuller.complaint
    assert fuller.body == body
    assert list(fuller.front_matter.items())[-2:] == [("fletch_origin", "x"), ("new", 1)]
    assert fuller.front_matter["license"] == ("mit" if b"mit" in card else "other")


def test_a_card_says_a_new_origin_once_and_one_that_is_too_large_is_left_alone(
    place: Library, ada: User
) -> None:
    cards = {"small": b"---\nfletch_origin: before\n---\n", "large": b"# Poems\n" * 10_000}
    for name, card in cards.items():
        making.ready(ada, place, name, {**making.PLAIN, "README.md": card})
        asked(ada, f"/adapters/ada/{name}/exports", repo=f"eve/{name}")

    small, large = (cargo.cargo_of(export) for export in Export.objects.order_by("pk"))

    assert small.written["README.md"].count(b"fletch_origin") == 1
    assert b"/ada/small@" in small.written["README.md"]
    assert "README.md" in large.files
    assert not large.written
    assert "/ada/large@" in large.description


def test_an_export_that_nobody_works_on_is_found_by_the_check(place: Library, ada: User) -> None:
    making.ready(ada, place)
    asked(ada)
    assert list(checker.exports_are_on_their_way()) == []

    Job.objects.filter(kind=JobKind.EXPORT).delete()

    assert "nothing is waiting to push it" in next(checker.exports_are_on_their_way())
