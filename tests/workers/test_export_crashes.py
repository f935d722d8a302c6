"""An export ends once, and with it its token, wherever a worker dies."""

from pathlib import Path

import pytest
from pytest_django import Settings

from hub.exports import services
from hub.exports.models import Export
from hub.exports.services import Wish
from hub.jobs.models import Job
from tests.tiny import tiny_adapter
from tests.workers.live import LiveHub
from tests.workers.mortal import work_until_killed_at
from tests.workers.taking_hub import taking_hub
from tests.workers.uploading import ready_library, upload, work_off_everything


@pytest.mark.parametrize("point", ["export.claimed", "export.pushed"])
def test_an_export_ends_once_and_forgets_its_token_wherever_a_worker_dies(
    hub: LiveHub, settings: Settings, tmp_path: Path, point: str
) -> None:
    with taking_hub() as other:
        settings.EXPORT_TO = (other.address,)
        shared = {"FLETCH_EXPORT_TO": other.address, "FLETCH_SECRET_KEY": settings.SECRET_KEY}
        release = upload(ready_library(), tiny_adapter(tmp_path / "poems", layers=[0], rank=2), name="poems")
        Job.objects.all().delete()  # it may go before anybody has looked at it
        wish = Wish("eve/verses", "hf_theirs")
        services.export_release(
            release=release, by=release.adapter.owner, wish=wish, hub="https://hub.example"
        )

        work_until_killed_at(point, LiveHub(hub.folder, {**hub.environment, **shared}))
        assert Export.objects.get().token
        work_off_everything()

    export = Export.objects.get()
    assert (export.status, export.note, export.token) == ("done", "", "")
    assert (hub.folder / "hub.sqlite3").read_bytes().count(b"hf_theirs") == 0
