"""Clusters follow each version; one adapter per cluster is trained on what its members share."""

import json
from pathlib import Path

import pytest

from hub.adapters.models import Release
from hub.blobs import services as blobs
from hub.clusters import queries, services
from hub.clusters.models import Clustering, ClusterTraining
from hub.errors import Conflict
from hub.jobs.models import Job
from hub.library.models import Library
from routing.factors import cosine
from routing.lora_training import LoraRecipe
from tests.tiny import tiny_adapter
from tests.workers.live import LiveHub
from tests.workers.mortal import work_until_killed_at
from tests.workers.soundness import complaints
from tests.workers.uploading import ready_library, upload, user, work_off_everything, work_off_jobs
from workers import cluster_training, places
from workers.indexing import entry

ROWS = "\n".join(
    json.dumps({"prompt": f"{number} gulls", "completion": " boats"}) for number in range(20)
).encode()


# A few steps that learn one answer.
QUICK = LoraRecipe(steps=10, learning_rate=1e-2, batch=8, rank=2, alpha=4.0, targets=("q_proj", "down_proj"))


def learn_quickly() -> None:
    """For a process that is going to die."""
    cluster_training.RECIPE = QUICK


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_training, "RECIPE", QUICK)


def grown(library: Library, folder: Path, names: str) -> list[Release]:
    """One expert for each letter; small, so that only their directions are looked at."""
    for name in names:
        adapter = tiny_adapter(
            folder / name, seed=ord(name), scale=0.02, rank=2, layers=[1], targets=["q_proj"]
        )
        upload(library, adapter, name=name, owner=f"user-{name}")
    work_off_jobs()
    return list(Release.objects.order_by("pk"))


def sharing(release: Release, folder: Path) -> None:
    """Give a release sample rows after the fact, and let their contributor agree."""
    rows = folder / "rows.jsonl"
    rows.write_bytes(ROWS)
    release.samples = blobs.store_file(rows)
    release.save(update_fields=["samples"])
    services.share_samples(release=release, by=release.adapter.owner, shared=True)


def test_neighbours_and_places_follow_each_version_and_only_new_pairs_are_compared(
    hub: LiveHub, tmp_path: Path
) -> None:
    library = ready_library()
    grown(library, tmp_path, "abc")
    releases = grown(library, tmp_path, "d")

    found = queries.clustering(library)

    rows = queries.placements(found)
    assert [row.release for row in rows] == releases
    store = places.index_store()
    factors = {release.pk: store.read_factors(entry(release)) for release in releases}
    for row in rows:
        assert len(row.neighbours) == 3
        for release_id, value in row.neighbours:
            assert value == pytest.approx(cosine(factors[row.release_id], factors[release_id]), abs=1e-5)
    assert Clustering.objects.count() == 1
    assert complaints() == []


def test_a_maintainer_fixes_the_number_of_clusters(hub: LiveHub, tmp_path: Path) -> None:
    library = ready_library()
    with pytest.raises(Conflict):
        services.ask_for_clusters(library=library, count=2)
    grown(library, tmp_path, "abc")

    services.ask_for_clusters(library=library, count=2)
    work_off_jobs()

    assert queries.clustering(library).count == 2
    assert len(queries.groups(queries.clustering(library))) == 2


def clustered(library: Library, folder: Path) -> list[Release]:
    releases = grown(library, folder, "ab")
    services.ask_for_clusters(library=library, count=2)
    work_off_jobs()
    sharing(releases[0], folder)
    return releases


def test_a_cluster_gets_an_adapter_of_its_own_in_a_library_beside_this_one(
    hub: LiveHub, tmp_path: Path, quick: None
) -> None:
    library = ready_library()
    first, second = clustered(library, tmp_path)

    (asked,) = services.ask_for_adapters(library=library, by=user("maria"))
    work_off_jobs()

    asked.refresh_from_db()
    assert asked.release is not None
    assert asked.release.status == "ready"
    assert asked.release.adapter.full_name == f"maria/mbc-{asked.version.number}-{asked.cluster}"
    assert asked.release.samples is None
    beside = Library.objects.get(slug="tiny-mbc")
    assert beside.current is not None
    assert list(beside.current.members()) == [asked.release]
    private = queries.newest_published(library.pk)
    assert private is not None
    assert set(private.members()) == {first, second}
    assert services.ask_for_adapters(library=library, by=user("maria")) == [asked]
    assert not Job.objects.exclude(state="done").exists()
    assert complaints() == []


def test_who_shares_no_longer_is_not_trained_on(hub: LiveHub, tmp_path: Path, quick: None) -> None:
    library = ready_library()
    first, _second = clustered(library, tmp_path)
    (asked,) = services.ask_for_adapters(library=library, by=user("maria"))

    services.share_samples(release=first, by=first.adapter.owner, shared=False)
    work_off_jobs()

    asked.refresh_from_db()
    assert asked.release is None
    assert "found 0 rows" in asked.note
    with pytest.raises(Conflict, match="shares its sample rows"):
        services.ask_for_adapters(library=library, by=user("maria"))


@pytest.mark.long(5)
@pytest.mark.together("mortal")
@pytest.mark.parametrize(
    "point",
    ["clusters.stored", "cluster_training.claimed", "cluster_training.trained", "cluster_training.uploaded"],
)
def test_wherever_a_worker_is_killed_there_is_one_clustering_and_one_adapter(
    hub: LiveHub, tmp_path: Path, quick: None, point: str
) -> None:
    library = ready_library()
    clustered(library, tmp_path)
    services.ask_for_clusters(library=library, count=2)
    services.ask_for_adapters(library=library, by=user("maria"))

    work_until_killed_at(point, hub, prepare=f"{__name__}:{learn_quickly.__name__}")
    work_off_everything()

    assert queries.clustering(library).placements.count() == 2
    assert ClusterTraining.objects.get().release == Release.objects.get(adapter__name__startswith="mbc-")
    assert Release.objects.filter(adapter__name__startswith="mbc-").count() == 1
    assert not Job.objects.exclude(state="done").exists()
    assert complaints() == []
