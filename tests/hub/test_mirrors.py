"""Who may bring adapters of other hubs into a library, and from where."""

import io

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from hub.accounts.models import User
from hub.errors import Conflict, Fenced
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.library.models import Library
from hub.mirrors import services
from hub.mirrors.models import Feed, Mirror, Origin
from tests.hub import making
from tests.hub.conftest import api_of

pytestmark = pytest.mark.django_db
HERE, ELSEWHERE = "https://hub.example", "https://elsewhere.example"


@pytest.fixture(autouse=True)
def allowed(settings: Settings) -> None:
    settings.IMPORT_FROM = (HERE, ELSEWHERE)


@pytest.fixture
def cleo() -> User:
    return making.user("cleo")


@pytest.fixture
def place(cleo: User) -> Library:
    return making.library(maintainer=cleo)


def asked(user: User, **body: object) -> tuple[int, dict[str, object]]:
    answer = api_of(user).post("/libraries/tiny/mirrors", body)
    return answer.status_code, answer.json()


def test_a_maintainer_asks_and_everybody_reads_what_comes(place: Library, cleo: User) -> None:
    status, said = asked(cleo, repo="ada/poems", follow=True)

    assert status == 202
    assert (said["adapter"], said["endpoint"], said["follow"]) == ("cleo/poems", HERE, True)
    assert Job.objects.get(kind=JobKind.IMPORT).subject == {"mirror_id": Mirror.objects.get().pk}
    assert [one["repo"] for one in Client().get("/api/v1/libraries/tiny/mirrors").json()] == ["ada/poems"]
    assert "https://hub.example/ada/poems" in Client().get("/libraries/tiny").content.decode()


def test_nobody_else_may(place: Library) -> None:
    status, said = asked(making.user("bob"), repo="ada/poems")
    assert (status, said["error"]) == (403, "not_allowed")
    assert not Mirror.objects.exists()


SENSELESS = [
    ({"repo": "poems"}, "expected owner/name"),
    ({"repo": "ada/po ems"}, "expected owner/name"),
    ({"repo": "ada/poems", "endpoint": "http://169.254.169.254"}, HERE),
    ({"repo": "ada/poems", "endpoint": "https://hub.example.evil.example"}, HERE),
    ({"repo": "ada/poems", "revision": "../../x"}, "expected a branch"),
    ({"repo": "ada/poems", "name": "-"}, "name"),
]


@pytest.mark.parametrize(("body", "said"), SENSELESS)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    place: Library, cleo: User, body: dict[str, object], said: str
) -> None:
    status, answer = asked(cleo, **body)
    assert status == 400
    assert said in str(answer["detail"])
    assert not Job.objects.filter(kind=JobKind.IMPORT).exists()


def test_asking_again_looks_again_and_never_moves_an_adapter(place: Library, cleo: User) -> None:
    first = services.mirror(library=place, by=cleo, repo="ada/poems")
    again = services.mirror(library=place, by=cleo, repo="ada/poems", follow=True)
    assert (again.pk, again.follow) == (first.pk, True)
    with pytest.raises(Conflict, match="is cleo/poems here already"):
        services.mirror(library=place, by=making.user("bob"), repo="ada/poems")


def test_no_hub_at_all_may_be_allowed(place: Library, settings: Settings) -> None:
    settings.IMPORT_FROM = ()
    making.user("dora")
    with pytest.raises(CommandError, match="FLETCH_IMPORT_FROM"):
        call_command("mirror", "tiny", "ada/poems", owner="dora")


def test_the_command_says_whose_it_becomes(place: Library, cleo: User) -> None:
    out = io.StringIO()
    call_command("mirror", "tiny", "ada/poems", owner="cleo", name="verses", endpoint=ELSEWHERE, stdout=out)
    assert out.getvalue() == f"{ELSEWHERE}/ada/poems@main becomes cleo/verses\n"


def test_a_release_says_where_it_came_from(place: Library, cleo: User) -> None:
    mirror = services.mirror(library=place, by=cleo, repo="ada/poems")
    release = making.upload(cleo, place, "poems")
    claim = making.take(JobKind.IMPORT)
    services.record_release(claim, mirror.pk, release, commit="a" * 40, licence="mit")

    assert Origin.objects.get().licence == "mit"
    page = Client().get("/cleo/poems").content.decode()
    assert "https://hub.example/ada/poems" in page


def test_a_list_is_followed_by_a_maintainer_and_read_by_everybody(place: Library, cleo: User) -> None:
    body = {"tag": "fletch-library:tales,fletch:ready"}
    assert api_of(making.user("bob")).post("/libraries/tiny/feeds", body).status_code == 403
    assert api_of(cleo).post("/libraries/tiny/feeds", {"tag": "two words"}).status_code == 400

    assert api_of(cleo).post("/libraries/tiny/feeds", body).status_code == 202

    assert Job.objects.get(kind=JobKind.FEED).subject == {"feed_id": Feed.objects.get().pk}
    assert [one["tag"] for one in Client().get("/api/v1/libraries/tiny/feeds").json()] == [body["tag"]]


def test_a_list_is_mirrored_once_and_says_what_of_it_is_not(place: Library, cleo: User) -> None:
    feed = services.follow_list(library=place, by=cleo, tag="lora")
    claim = making.take(JobKind.FEED)

    assert services.record_list(claim, feed, ["ada/poems", "bob/poems", "-/-"]) == 3
    assert services.record_list(claim, feed, ["ada/poems"]) == 0

    names = Mirror.objects.order_by("repo").values_list("repo", "name", "follow")
    assert list(names) == [("ada/poems", "ada-poems", True), ("bob/poems", "bob-poems", True)]
    assert services.record_list(claim, feed, ["ada/poems", "-/-"]) == 1
    feed.refresh_from_db()
    assert feed.count == 2
    assert feed.note.startswith("-/-: ")


def test_who_lost_the_claim_mirrors_nothing(place: Library, cleo: User) -> None:
    feed = services.follow_list(library=place, by=cleo, tag="lora")
    claim = making.take(JobKind.FEED)
    jobs.give_back(claim)

    with pytest.raises(Fenced):
        services.record_list(claim, feed, ["ada/poems"])

    assert not Mirror.objects.exists()


def test_a_list_can_be_left_and_what_it_brought_stays(place: Library, cleo: User) -> None:
    feed = services.follow_list(library=place, by=cleo, tag="lora")
    services.record_list(making.take(JobKind.FEED), feed, ["ada/poems"])
    path = f"/api/v1/libraries/tiny/feeds/{feed.pk}"

    assert Client().delete(path, headers=api_of(making.user("bob")).headers).status_code == 403
    assert Client().delete(path, headers=api_of(cleo).headers).status_code == 204

    assert not Feed.objects.exists()
    assert Mirror.objects.get().follow


def test_a_failure_of_ours_tells_the_public_nothing_of_our_machine(place: Library, cleo: User) -> None:
    services.mirror(library=place, by=cleo, repo="ada/poems")
    jobs.fail(making.take(JobKind.IMPORT), "OSError: /srv/secret is full")

    note = Client().get("/api/v1/libraries/tiny/mirrors").json()[0]["note"]
    assert note == services.OUR_FAULT
