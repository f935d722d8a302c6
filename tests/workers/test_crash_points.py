"""SIGKILL at every named point of the pipeline: the work is taken up again and everything happens once."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from django.test import override_settings

from hub.adapters.models import Release, ReleaseEvent
from hub.jobs.models import Job
from hub.library.models import Library
from tests.tiny import tiny_adapter, tiny_gpt2
from tests.workers.live import LiveHub
from tests.workers.mortal import work_until_killed_at
from tests.workers.soundness import complaints
from tests.workers.uploading import found_library, ready_library, upload, work_off_everything, work_off_jobs
from workers import places

pytestmark = [pytest.mark.long(4), pytest.mark.together("mortal")]

INSPECTION = ("inspect.stored", "inspect.recorded")
PIPELINE = (
    "validate.claimed",
    "validate.laid_out",
    "validate.files_done",
    "validate.numbers_done",
    "validate.copies_done",
    "validate.behaviour_done",
    "validate.verdict_ready",
    "validate.recorded",
    "vectors.claimed",
    "vectors.computed",
    "vectors.stored",
    "vectors.recorded",
    "publish.claimed",
    "publish.version_inserted",
    "publish.planned",
    "publish.manifest_written",
    "publish.recorded",
    "publish.before_finish",
    "promote.claimed",
    "promote.set",
)
REJECTION = ("validate.files_done", "validate.verdict_ready", "validate.recorded")


def on_either(points: Sequence[str]) -> list[object]:
    """Each point on one database, in turn; on the other one it is slow (`make test-slow`)."""
    pairs: list[object] = []
    for turn, point in enumerate(points):
        for place, database in enumerate(("sqlite", "postgresql")):
            marks = [pytest.mark.services] if database == "postgresql" else []
            marks += [pytest.mark.slow] if (turn + place) % 2 else []
            pairs.append(pytest.param(database, point, marks=marks))
    return pairs


either = partial(pytest.mark.parametrize, ("either_hub", "point"), indirect=["either_hub"])


def endings(release: Release) -> list[str]:
    ends = [ReleaseEvent.What.READY, ReleaseEvent.What.REJECTED]
    return list(release.events.filter(what__in=ends).values_list("what", flat=True))


@either(argvalues=on_either(PIPELINE))
def test_a_good_upload_becomes_ready_once_wherever_a_worker_dies(
    either_hub: LiveHub, tmp_path: Path, point: str
) -> None:
    library = ready_library()
    release = upload(library, tiny_adapter(tmp_path / "a", layers=[0], rank=2), name="a")

    work_until_killed_at(point, either_hub)
    work_off_everything()

    assert endings(release) == ["ready"]
    assert places.index_store().versions(library.slug) == [0, 1]
    assert not Job.objects.exclude(state="done").exists()
    assert complaints() == []


@either(argvalues=on_either(REJECTION))
def test_a_bad_upload_is_rejected_once_wherever_a_worker_dies(
    either_hub: LiveHub, tmp_path: Path, point: str
) -> None:
    library = ready_library()
    release = upload(library, tiny_adapter(tmp_path / "a", tiny_gpt2()), name="a")

    work_until_killed_at(point, either_hub)
    work_off_everything()

    assert endings(release) == ["rejected"]
    assert places.index_store().versions(library.slug) == [0]
    assert complaints() == []


@pytest.mark.parametrize("point", INSPECTION)
def test_a_library_is_founded_wherever_a_worker_dies(either_hub: LiveHub, point: str) -> None:
    library = found_library()

    work_until_killed_at(point, either_hub)
    work_off_everything()

    assert Library.objects.get(pk=library.pk).status == "ready"
    current = places.index_store().current(library.slug)
    assert current is not None
    assert current.number == 0
    assert complaints() == []


@pytest.mark.parametrize("effect", ["raise", "enospc"])
@either(argvalues=on_either(["validate.laid_out", "vectors.stored", "publish.manifest_written"]))
def test_trouble_on_our_side_is_tried_again_and_never_blamed_on_the_upload(
    either_hub: LiveHub, tmp_path: Path, point: str, effect: str
) -> None:
    library = ready_library()
    release = upload(library, tiny_adapter(tmp_path / "a", layers=[0], rank=2), name="a")
    with override_settings(CRASH=f"{point}:{effect}"):
        work_off_jobs()

    work_off_everything()

    assert endings(release) == ["ready"]
    assert Job.objects.filter(crashes=1).count() == 1
    assert complaints() == []
