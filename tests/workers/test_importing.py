"""Adapters of another hub become releases here, as they were there; what lies or is gone is refused and said."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import override_settings

from hub.adapters.models import Release
from hub.jobs.models import Job
from hub.library.models import Library
from hub.mirrors import services
from hub.mirrors.models import Mirror, Origin
from tests.tiny import tiny_adapter
from tests.workers.live import LiveHub
from tests.workers.mortal import work_until_killed_at
from tests.workers.other_hub import OtherHub, other_hub
from tests.workers.soundness import complaints
from tests.workers.uploading import ready_library, upload, user, work_off_everything, work_off_jobs

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def there(tmp_path: Path) -> Iterator[OtherHub]:
    """A hub that holds one good adapter, from which this one may import."""
    with other_hub() as found:
        found.hold(tiny_adapter(tmp_path / "poems", layers=[0], rank=2))
        with override_settings(IMPORT_FROM=(found.address,)):
            yield found


def mirrored(library: Library, **fields: object) -> Mirror:
    return services.mirror(library=library, by=user("cleo"), repo="ada/poems", **fields)  # type: ignore[arg-type]


def looked(mirror: Mirror) -> Mirror:
    work_off_jobs()
    mirror.refresh_from_db()
    return mirror


def test_what_is_there_becomes_an_expert_here_with_its_origin(hub: LiveHub, there: OtherHub) -> None:
    mirror = looked(mirrored(ready_library()))

    release = Release.objects.get()
    origin = Origin.objects.get(release=release)
    assert (release.status, release.adapter.full_name) == ("ready", "cleo/poems")
    assert (origin.mirror, origin.commit, origin.licence) == (mirror, there.commit, "mit")
    assert (mirror.commit, mirror.note) == (there.commit, "")
    stored = dict(release.commit.files.values_list("path", "blob__size"))
    assert stored == {name: file.stat().st_size for name, file in there.files.items()}
    assert not any("authorization" in {name.lower() for name in headers} for _path, headers in there.asked)
    assert complaints() == []


def test_a_followed_repository_is_looked_at_again_and_a_new_commit_is_a_new_release(
    hub: LiveHub, there: OtherHub, tmp_path: Path
) -> None:
    mirror = looked(mirrored(ready_library(), follow=True))
    assert services.look_at_followed() == 0, "it was looked at just now"

    Mirror.objects.update(looked_at=None)
    assert services.look_at_followed() == 1
    looked(mirror)
    assert Release.objects.count() == 1, "nothing was new"

    there.hold(tiny_adapter(tmp_path / "better", layers=[0], rank=2, seed=5))
    there.commit = "2" * 40
    services.look(mirror)
    looked(mirror)

    assert list(Release.objects.order_by("number").values_list("number", "status")) == [
        (1, "ready"),
        (2, "ready"),
    ]
    assert mirror.commit == there.commit


def test_our_own_adapter_seen_again_at_the_other_hub_is_not_taken_twice(
    hub: LiveHub, there: OtherHub, tmp_path: Path
) -> None:
    library = ready_library()
    upload(library, tmp_path / "poems", name="poems", owner="ada")
    work_off_jobs()

    mirror = looked(mirrored(library))

    assert Release.objects.count() == 1
    assert mirror.note == "these weights are here already, as release 1 of ada/poems"
    assert not any(path.endswith(WEIGHTS) for path, _headers in there.asked), "it was not even fetched"


LIES = [
    ({WEIGHTS: {"lfs": {"sha256": "f" * 64}}}, "is not what it was said to be"),
    ({"adapter_config.json": {"blobId": "0" * 40}}, "is not what it was said to be"),
    ({WEIGHTS: {"size": 10}}, "has more than 10 bytes"),
    ({WEIGHTS: {"size": 3 * 2**30}}, "an adapter may have"),
    ({WEIGHTS: {"rfilename": "../../" + WEIGHTS}}, "it is no PEFT adapter"),
    ({WEIGHTS: {"rfilename": "adapter_model.bin"}}, "it is no PEFT adapter"),
]


@pytest.mark.parametrize(("lies", "note"), LIES)
def test_a_hub_that_lies_is_refused_and_the_maintainer_reads_why(
    hub: LiveHub, there: OtherHub, lies: dict[str, dict[str, object]], note: str
) -> None:
    there.lies.update(lies)

    mirror = looked(mirrored(ready_library()))

    assert note in mirror.note
    assert not Release.objects.exists()
    assert not Job.objects.exclude(state="done").exists()


def test_a_way_into_our_own_network_is_not_gone(hub: LiveHub, there: OtherHub) -> None:
    with other_hub() as inner:
        there.redirects[WEIGHTS] = f"{inner.address}/latest/meta-data"
        mirror = looked(mirrored(ready_library()))

    assert "without https" in mirror.note
    assert inner.asked == []


def test_a_hub_that_is_down_is_asked_again_and_said_to_be_so(hub: LiveHub, there: OtherHub) -> None:
    there.status = 503
    mirror = looked(mirrored(ready_library()))
    assert "answers 503" in mirror.note

    there.status = 200
    work_off_everything()
    mirror.refresh_from_db()
    assert (mirror.note, Release.objects.get().status) == ("", "ready")


@pytest.mark.long(5)
@pytest.mark.together("mortal")
@pytest.mark.parametrize("point", ["import.claimed", "import.uploaded"])
def test_an_import_happens_once_wherever_a_worker_dies(hub: LiveHub, there: OtherHub, point: str) -> None:
    mirrored(ready_library())

    work_until_killed_at(point, hub, settings={"IMPORT_FROM": (there.address,)})
    work_off_everything()

    assert Release.objects.get().status == "ready"
    assert Origin.objects.count() == 1
    assert complaints() == []
