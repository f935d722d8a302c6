"""Clusters as a maintainer, a contributor and a reader meet them."""

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.adapters.models import Release
from hub.clusters import queries, services
from hub.clusters.models import Clustering, ClusterTraining
from hub.clusters.services import Placed
from hub.errors import Fenced
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.library.models import Library
from tests.hub import making
from tests.hub.conftest import Api, api_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def place(ada: User) -> Library:
    """Two experts of ada's in a library of hers, compared with each other."""
    place = making.library(maintainer=ada)
    releases = [
        making.ready(ada, place, "one"),
        making.ready(ada, place, "two", {**making.PLAIN, "x.md": b"x"}),
    ]
    making.publish(place)
    clustered(place, releases)
    return place


def clustered(place: Library, releases: list[Release]) -> Clustering:
    """Do what a worker does: every release in a cluster of its own, and alike."""
    jobs.enqueue(JobKind.CLUSTER, library_id=place.pk)
    claim = making.take(JobKind.CLUSTER)
    placed = [
        Placed(
            release.pk,
            number,
            x=float(number),
            y=0.0,
            neighbours=[(other.pk, 0.25) for other in releases if other != release],
        )
        for number, release in enumerate(releases)
    ]
    version = queries.newest_published(place.pk)
    assert version is not None
    found = services.record_clusters(
        claim,
        version.pk,
        placed,
        count=len(releases),
        silhouette=0.5,
        copies=[[one.pk for one in releases]],
        matrix="c" * 64,
        seconds=1.0,
    )
    jobs.finish(claim)
    return found


@pytest.fixture
def api(ada: User, place: Library) -> Api:
    return api_of(ada)


def test_a_published_version_is_clustered(ada: User) -> None:
    place = making.library()
    making.ready(ada, place)

    making.publish(place)

    assert Job.objects.filter(kind=JobKind.CLUSTER).exists()


def test_everybody_reads_clusters_and_neighbours(api: Api) -> None:
    body = api.get("/libraries/tiny/clusters").json()

    assert body["clusters"] == {"0": ["ada/one"], "1": ["ada/two"]}
    assert body["copies"] == [["ada/one", "ada/two"]]
    assert [place["x"] for place in body["map"]] == [0.0, 1.0]
    assert api.get("/libraries/tiny/neighbours/ada/one").json() == [{"adapter": "ada/two", "cosine": 0.25}]
    assert api.get("/libraries/tiny/neighbours/ada/none").status_code == 404


def test_who_asks_for_a_part_of_the_map_is_told_of_these_experts(api: Api) -> None:
    whole = api.get("/libraries/tiny/clusters").json()

    second = api.get("/libraries/tiny/clusters?limit=1&offset=1").json()
    beyond = api.get("/libraries/tiny/clusters?limit=1&offset=2").json()

    assert second["map"] == whole["map"][1:]
    assert second["clusters"] == {"1": ["ada/two"]}
    assert second["copies"] == whole["copies"]
    assert (beyond["map"], beyond["clusters"], beyond["copies"]) == ([], {}, [])
    assert [one["experts"] for one in (whole, second, beyond)] == [2, 2, 2]
    assert api.get("/libraries/tiny/clusters?limit=0").status_code == 400


def test_pages_say_who_is_alike_and_in_which_cluster(client: Client, place: Library) -> None:
    adapter = client.get("/ada/one").content.decode()
    library = client.get("/libraries/tiny").content.decode()

    assert "cosine 0.2500" in adapter
    assert "Cluster 0 of 2, alone" in adapter
    assert "form 2 clusters" in library


def test_what_was_known_of_older_versions_gives_way(ada: User, place: Library) -> None:
    releases = list(Release.objects.order_by("pk"))
    releases.append(making.ready(ada, place, "three", {**making.PLAIN, "y.md": b"y"}))
    making.publish(place)

    newer = clustered(place, releases)

    assert list(Clustering.objects.all()) == [newer]
    assert newer.placements.count() == 3


def test_a_worker_that_lost_its_claim_records_nothing(place: Library) -> None:
    jobs.enqueue(JobKind.CLUSTER, library_id=place.pk)
    claim = making.take(JobKind.CLUSTER)
    jobs.give_back(claim)

    with pytest.raises(Fenced):
        services.record_clusters(
            claim, 1, [], count=0, silhouette=0.0, copies=[], matrix="d" * 64, seconds=0.0
        )


def test_only_a_maintainer_asks_and_only_the_owner_shares(api: Api) -> None:
    stranger = api_of(making.user("bob"))
    release = Release.objects.order_by("pk")[0]
    sharing = f"/adapters/ada/one/releases/{release.oid}/sharing"

    assert stranger.post("/libraries/tiny/clusters", {"count": 1}).status_code == 403
    assert stranger.post("/libraries/tiny/cluster-adapters", {}).status_code == 403
    assert stranger.post(sharing, {"shared": True}).status_code == 403
    assert api.post("/libraries/tiny/clusters", {"count": 0}).status_code == 400
    assert api.post("/libraries/tiny/clusters", {"count": 1}).status_code == 202
    assert queries.wanted_count(release.library.pk) == 1
    assert "has no sample rows" in api.post(sharing, {"shared": True}).json()["detail"]


def test_adapters_are_asked_for_where_rows_are_shared(api: Api, place: Library, ada: User) -> None:
    release = Release.objects.order_by("pk")[0]
    refused = api.post("/libraries/tiny/cluster-adapters", {})
    assert refused.status_code == 409
    release.samples = release.commit.files.all()[0].blob
    release.save()
    oid = release.oid
    assert api.post(f"/adapters/ada/one/releases/{oid}/sharing", {"shared": True}).json() == {"shared": True}

    (asked,) = api.post("/libraries/tiny/cluster-adapters", {}).json()

    assert asked["adapter"] == "ada/mbc-1-0"
    assert asked["library"] == "tiny-mbc"
    assert asked["members"] == ["ada/one"]
    assert not asked["settled"]
    assert Library.objects.get(slug="tiny-mbc").status == "ready"
    assert Job.objects.get(kind=JobKind.TRAIN_CLUSTER).subject == {
        "training_id": ClusterTraining.objects.get().pk
    }
    assert len(api.get("/libraries/tiny/cluster-adapters").json()) == 1


def test_an_owner_lets_rows_be_pooled_on_the_page(client: Client, place: Library, ada: User) -> None:
    release = Release.objects.order_by("pk")[0]
    release.samples = release.commit.files.all()[0].blob
    release.save()
    client.force_login(ada)

    client.post(f"/ada/one/releases/{release.oid}/share", {"shared": "yes"})

    assert queries.sharing([release]) == {release.pk}
    assert "Pool them no longer" in client.get("/ada/one").content.decode()
