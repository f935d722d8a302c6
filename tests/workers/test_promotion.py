"""What the index store says of versions is what the hub's database says."""

from pathlib import Path

import pytest

from hub.adapters import services as adapters
from routing.held_back import of_version
from tests.tiny import tiny_adapter
from tests.workers.uploading import ready_library, upload, work_off_jobs
from workers import places

pytestmark = pytest.mark.usefixtures("hub")


def test_the_store_names_versions_with_an_expert_in_quarantine_and_forgets_it_when_it_is_restored(
    tmp_path: Path,
) -> None:
    library = ready_library()
    upload(library, tiny_adapter(tmp_path / "a"), name="good")
    work_off_jobs()
    bad = upload(library, tiny_adapter(tmp_path / "b", seed=5), name="bad")
    work_off_jobs()
    store = places.index_store()

    bad.refresh_from_db()
    adapters.quarantine(release=bad, by=None, reason="a trigger was found")
    work_off_jobs()

    held_back, current = store.held_back(library.slug), store.current(library.slug)
    assert current is not None
    assert current.number == 3
    assert [of_version(held_back, number) for number in (1, 2, 3)] == [[], ["ada/bad"], []]
    bad.refresh_from_db()
    adapters.restore(release=bad, by=None)
    work_off_jobs()
    assert store.held_back(library.slug) == ()
