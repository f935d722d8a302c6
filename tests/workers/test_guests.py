"""Private experts and passes between hub, worker and serving process: what one signs the others know."""

from dataclasses import replace
from pathlib import Path

import pytest
from pytest_django import Settings

from hub import signing
from hub.indexes import guests, passes
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from hub.library.models import Library
from routing.index import objects_of
from tests.tiny import tiny_adapter
from tests.workers.uploading import ready_library, upload, user, work_off_jobs
from workers import indexing, places
from workers.serving.callers import PassDoor
from workers.serving.guests import Guests, believed

pytestmark = pytest.mark.usefixtures("hub")


def read(token: str | None, library: Library) -> Guests:
    """As a serving process reads a list: with what the index store says and nothing else."""
    assert token is not None
    return believed(token, library=library.slug, key=places.index_store().guest_key(library.slug))


def test_what_the_hub_signs_is_what_a_manifest_would_say_and_all_of_it_is_in_the_store(
    tmp_path: Path,
) -> None:
    library = ready_library()
    release = upload(library, tiny_adapter(tmp_path / "a"), name="secret", private=True)
    work_off_jobs()
    shown = upload(library, tiny_adapter(tmp_path / "b", seed=5), name="shown", owner="bob")
    work_off_jobs()
    library.refresh_from_db()
    release.refresh_from_db()

    found = guests.guest_list(user=user(), library=library)

    (entry,) = read(found.token, library).entries
    assert entry == replace(
        indexing.entry(release), profile=release.profile_digest, profile_size=release.profile_size
    )
    assert all(places.index_store().objects.exists(digest) for digest in objects_of(entry))
    (member,) = places.index_store().read_version(library.slug, 1).experts
    assert member.adapter == shown.adapter.full_name


def test_a_new_secret_key_is_said_in_the_store_by_the_next_promotion(settings: Settings) -> None:
    library = ready_library()
    before = signing.public_key()
    assert places.index_store().guest_key(library.slug) == before

    settings.SECRET_KEY = "another secret key of this hub, which is long enough"
    jobs.enqueue(JobKind.PROMOTE, library_id=library.pk)
    work_off_jobs()

    library.refresh_from_db()
    assert places.index_store().guest_key(library.slug) == signing.public_key() != before
    assert library.guest_key == signing.public_key().hex()


def test_a_pass_that_the_hub_signs_lets_its_owner_in() -> None:
    library = ready_library()
    key = places.index_store().guest_key(library.slug)
    assert key is not None
    door = PassDoor(lambda: {library.slug: key})
    given = passes.issue(user=user(), library=library)
    everywhere = passes.issue(user=user(), library=library, everywhere=True)

    for one in (given, everywhere):
        caller = door.caller({"X-Fletch-Pass": one.token}, "127.0.0.1")
        door.require(caller, library.slug)
        assert (caller.name, caller.answers, caller.tokens_per_minute) == (user().username, 8, 60_000)
