"""What each expert contributes, as a maintainer asks for it, a worker records it, and visitors read it."""

import io
import json
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import Settings

from hub.ablations import queries, services
from hub.ablations.models import Ablation
from hub.ablations.services import Cost, Interval, Score
from hub.accounts.models import User
from hub.adapters import services as adapters
from hub.adapters.models import Adapter, Release
from hub.errors import Conflict, Fenced, Invalid, TooLarge
from hub.indexes.models import IndexVersion
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobKind
from hub.library import rows as collector
from hub.library.models import Library
from hub.operations import garbage
from tests.hub import making
from tests.hub.conftest import Api, api_of

pytestmark = pytest.mark.django_db
ROWS = "\n".join(json.dumps({"prompt": f"{one} gulls", "completion": " boats"}) for one in range(12)).encode()
NOTHING = Cost(10, 1.0)


@pytest.fixture
def place(ada: User) -> Library:
    """Two experts in a library of ada's, one of them bob's."""
    place = making.library(maintainer=ada)
    making.ready(ada, place, "one")
    making.ready(making.user("bob"), place, "two", {**making.PLAIN, "x.md": b"x"})
    making.publish(place)
    return place


@pytest.fixture
def version(place: Library) -> IndexVersion:
    assert place.current is not None
    return place.current


def file_of(content: bytes = ROWS) -> Path:
    (staged,) = making.staged({"rows.jsonl": content})
    return staged.source


def asked(version: IndexVersion, by: User, *experts: str, content: bytes = ROWS) -> Ablation:
    return services.request(version=version, file=file_of(content), name="Chores", by=by, experts=experts)


def recorded(claim: Claim, found: Ablation, *gains: float) -> None:
    """Do what a worker does for the first so many experts that lack a figure."""
    assert services.record_whole(
        claim, found.pk, rows=12, whole=Score(-1.0, 0.5), base=Score(-2.0, 0.25), cost=NOTHING
    )
    for gain, member in zip(gains, queries.unmeasured(found), strict=False):
        assert services.record_contribution(
            claim,
            found.pk,
            member.release_id,
            gain=Interval(gain, gain - 0.1, gain + 0.1),
            exact=Interval(gain / 2, 0.0, gain),
            heard=7,
            cost=NOTHING,
        )


def measured(version: IndexVersion, by: User, *gains: float) -> Ablation:
    found = asked(version, by)
    claim = making.take(JobKind.ABLATE)
    recorded(claim, found, *gains)
    assert services.settle(claim, found.pk, Ablation.State.DONE)
    jobs.finish(claim)
    found.refresh_from_db()
    return found


def sent(api: Api, number: int = 1, content: bytes = ROWS, **form: object) -> tuple[int, dict[str, object]]:
    file = SimpleUploadedFile("chores.jsonl", content)
    found = api.send(f"/libraries/tiny/versions/{number}/ablations", {"rows": file, **form})
    return found.status_code, found.json()


def test_a_maintainer_asks_and_everybody_reads_what_came_of_it(ada: User, version: IndexVersion) -> None:
    status, body = sent(api_of(ada), experts=["ada/one", "bob/two"])

    assert (status, body["state"], body["name"], body["experts"]) == (202, "requested", "chores.jsonl", 2)
    claim = making.take(JobKind.ABLATE)
    found = Ablation.objects.get()
    recorded(claim, found, 0.1, 0.4)
    assert services.settle(claim, found.pk, Ablation.State.DONE)

    read = api_of(None).get(f"/ablations/{body['id']}").json()
    assert [(one["adapter"], one["gain"], one["heard"]) for one in read["contributions"]] == [
        ("bob/two", 0.4, 7),
        ("ada/one", 0.1, 7),
    ]
    assert (read["score"], read["base_score"], read["stale"]) == (-1.0, -2.0, False)
    assert (read["tokens"], read["seconds"]) == (30, 3.0)
    listed = api_of(None).get("/libraries/tiny/versions/1/ablations").json()
    assert [one["id"] for one in listed] == [body["id"]]


def test_who_asks_for_a_part_of_the_contributions_is_told_how_many_there_are(
    ada: User, version: IndexVersion
) -> None:
    found, api = measured(version, ada, 0.1, 0.4), api_of(None)

    whole, last, beyond = (
        api.get(f"/ablations/{found.pk}{asked}").json() for asked in ("", "?limit=1&offset=1", "?offset=2")
    )

    assert last["contributions"] == whole["contributions"][1:]
    assert (len(whole["contributions"]), beyond["contributions"]) == (2, [])
    assert [one["measured"] for one in (whole, last, beyond)] == [2, 2, 2]
    assert api.get(f"/ablations/{found.pk}?limit=1001").status_code == 400


def test_nobody_but_a_maintainer_asks_stops_or_deletes(ada: User, version: IndexVersion) -> None:
    found = asked(version, ada)
    for visitor, status in ((None, 401), (making.user("eve"), 403)):
        api = api_of(visitor)

        assert sent(api)[0] == status
        assert api.post(f"/ablations/{found.pk}/cancel", {}).status_code == status
        assert api.post(f"/ablations/{found.pk}/repeat", {}).status_code == status
        gone = api.client.delete(f"/api/v1/ablations/{found.pk}/rows", headers=api.headers)
        assert gone.status_code == status
    found.refresh_from_db()
    assert found.state == "requested"
    assert found.rows_blob is not None


@pytest.mark.parametrize(
    ("content", "experts", "error", "said"),
    [
        (b"\n \n", (), Invalid, "an empty file"),
        (ROWS, ("ada/one", "ada/none"), Invalid, "ada/none"),
        (b"x" * (settings.LIMITS.samples_bytes + 1), (), TooLarge, "expected at most"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    ada: User,
    version: IndexVersion,
    content: bytes,
    experts: tuple[str, ...],
    error: type[Exception],
    said: str,
) -> None:
    with pytest.raises(error, match=said):
        asked(version, ada, *experts, content=content)

    assert not Ablation.objects.exists()


def test_rows_that_gates_learn_from_are_refused(ada: User, place: Library, version: IndexVersion) -> None:
    collector.keep(library=place, file=file_of(), by=ada)

    with pytest.raises(Conflict, match="rows that nothing learnt from"):
        asked(version, ada)


def test_a_version_with_an_expert_in_quarantine_is_not_measured(ada: User, version: IndexVersion) -> None:
    adapters.quarantine(release=Release.objects.earliest("pk"), by=ada, reason="stolen")

    with pytest.raises(Conflict, match="quarantine"):
        asked(version, ada)


def test_the_same_rows_are_measured_once(ada: User, version: IndexVersion) -> None:
    found = measured(version, ada, 0.1, 0.2)

    assert asked(version, ada) == found
    assert asked(version, ada, "ada/one") == found

    assert Ablation.objects.get().state == "done"
    assert not Job.objects.filter(kind=JobKind.ABLATE, state="queued").exists()


def test_asking_for_one_more_expert_measures_that_one_alone(ada: User, version: IndexVersion) -> None:
    found = asked(version, ada, "ada/one")
    claim = making.take(JobKind.ABLATE)
    recorded(claim, found, 0.3, 0.3)

    asked(version, ada, "bob/two")

    assert not services.settle(claim, found.pk, Ablation.State.DONE), "more was asked for meanwhile"
    jobs.finish(claim)
    found.refresh_from_db()
    assert [member.release.adapter.name for member in queries.unmeasured(found)] == ["two"]
    assert making.take(JobKind.ABLATE).ids == {"ablation_id": found.pk}


def test_what_is_cancelled_records_nothing_more_and_can_be_gone_on_with(
    ada: User, version: IndexVersion
) -> None:
    found = asked(version, ada)
    claim = making.take(JobKind.ABLATE)
    recorded(claim, found, 0.3)

    services.cancel(ablation=found, by=ada)

    one = queries.unmeasured(found)[0].release_id
    interval = Interval(0.0, 0.0, 0.0)
    assert not services.record_contribution(
        claim, found.pk, one, gain=interval, exact=interval, heard=0, cost=NOTHING
    )
    assert not services.settle(claim, found.pk, Ablation.State.DONE)
    jobs.finish(claim)
    with pytest.raises(Conflict, match="not under way"):
        services.cancel(ablation=found, by=ada)
    again = services.repeat(ablation=queries.ablation(found.pk), version=version, by=ada)
    assert again == found
    assert (again.state, again.tokens, len(queries.unmeasured(again))) == ("requested", 0, 1)


def test_a_worker_that_lost_its_claim_records_nothing(ada: User, version: IndexVersion) -> None:
    found = asked(version, ada)
    claim = making.take(JobKind.ABLATE)
    jobs.give_back(claim)

    with pytest.raises(Fenced):
        services.settle(claim, found.pk, Ablation.State.DONE)


def test_a_job_that_failed_says_so_and_is_tried_again(ada: User, version: IndexVersion) -> None:
    found = asked(version, ada)
    claim = making.take(JobKind.ABLATE)

    jobs.fail(claim, "out of memory")

    found.refresh_from_db()
    assert (found.state, found.note) == ("failed", "the hub could not finish this")
    jobs.retry(Job.objects.get(pk=claim.job_id))
    found.refresh_from_db()
    assert found.state == "requested"


def test_a_private_adapters_figures_are_for_those_who_may_know_of_it(
    ada: User, version: IndexVersion
) -> None:
    found = measured(version, ada, 0.1, 0.2)
    Adapter.objects.filter(name="two").update(private=True)

    def seen(visitor: User | None) -> list[str]:
        body = api_of(visitor).get(f"/ablations/{found.pk}").json()
        assert body["measured"] == len(body["contributions"])
        return [one["adapter"] for one in body["contributions"]]

    assert seen(None) == ["ada/one"]
    assert seen(making.user("eve")) == ["ada/one"]
    assert seen(User.objects.get(username="bob")) == ["bob/two", "ada/one"]


def test_a_newer_version_makes_figures_stale_and_is_measured_on_the_same_rows(
    ada: User, place: Library, version: IndexVersion
) -> None:
    found = measured(version, ada, 0.1, 0.2)
    making.ready(ada, place, "three", {**making.PLAIN, "y.md": b"y"})
    newer = making.publish(place)
    api = api_of(ada)

    assert api.get(f"/ablations/{found.pk}").json()["stale"]
    again = api.post(f"/ablations/{found.pk}/repeat", {}).json()

    assert (again["version"], again["state"], again["stale"]) == (newer.number, "requested", False)
    assert again["rows_sha256"] == found.rows_sha256
    assert (again["name"], again["experts"]) == ("Chores", 3)


def test_rows_are_kept_until_they_are_deleted_and_the_figures_stay(
    ada: User, version: IndexVersion, settings: Settings
) -> None:
    found = measured(version, ada, 0.1, 0.2)
    blob = found.rows_blob
    assert blob is not None
    grace = settings.GARBAGE_GRACE * 0
    assert not garbage.unreferenced(grace).filter(pk=blob.pk).exists()
    api = api_of(ada)

    assert api.client.delete(f"/api/v1/ablations/{found.pk}/rows", headers=api.headers).status_code == 204

    assert garbage.unreferenced(grace).filter(pk=blob.pk).exists()
    read = api.get(f"/ablations/{found.pk}").json()
    assert (read["rows_kept"], len(read["contributions"])) == (False, 2)
    assert api.post(f"/ablations/{found.pk}/repeat", {}).status_code == 409
    assert asked(version, ada) == found, "sent again, they are known by their digest"


def test_rows_are_not_deleted_under_a_worker(ada: User, version: IndexVersion) -> None:
    found = asked(version, ada)

    with pytest.raises(Conflict, match="cancel it first"):
        services.forget_rows(ablation=found)


def posted(ada: User, do: str, found: Ablation, content: bytes = ROWS) -> str:
    client = api_of(None).client
    client.force_login(ada)
    page = f"/libraries/tiny/versions/{found.version.number}/contributions"
    if do:
        answer = client.post(f"{page}/{found.pk}", {"do": do}, follow=True)
    else:
        answer = client.post(
            page, {"rows": io.BytesIO(content), "name": "Sums", "experts": "ada/one"}, follow=True
        )
    return str(answer.content.decode())


def test_all_of_it_works_from_the_page(ada: User, place: Library, version: IndexVersion) -> None:
    found = measured(version, ada, 0.1, -0.2)
    making.ready(ada, place, "three", {**making.PLAIN, "y.md": b"y"})
    newer = making.publish(place)

    page = posted(ada, "renew", found)

    assert f"Measure version {newer.number}" in page
    assert "Waiting for a worker" in page
    renewed = Ablation.objects.get(version=newer)
    assert "What is measured stays" in posted(ada, "cancel", renewed)
    assert "Waiting for a worker" in posted(ada, "go-on", renewed)
    posted(ada, "cancel", renewed)
    assert "the figures stay" in posted(ada, "forget", found)
    assert "Sums" in posted(ada, "", renewed, b'{"prompt": "x", "completion": "y"}')
    assert "an empty file" in posted(ada, "", renewed, b" ")
    client = api_of(None).client
    stale = client.get(
        f"/libraries/tiny/versions/1/contributions?run={found.pk}&sort=expert"
    ).content.decode()
    assert f"Version {newer.number} is served now" in stale
    assert stale.index("ada/one") < stale.index("bob/two")
    adapter = client.get("/bob/two").content.decode()
    assert "\N{MINUS SIGN}0.200" in adapter
    assert "another version is served now" in adapter
    assert "What each expert contributes" in client.get("/libraries/tiny/versions").content.decode()
