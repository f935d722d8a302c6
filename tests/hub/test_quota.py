"""What one person may keep here: counted once, shown before an upload, and refused before bytes are taken."""

import hashlib

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from hub.accounts.models import User
from hub.adapters import quota, repositories
from hub.adapters.models import Adapter
from hub.errors import OverQuota
from hub.library.models import Library
from tests.hub import making
from tests.hub.conftest import api_of

pytestmark = pytest.mark.django_db
PLAIN = sum(map(len, making.PLAIN.values()))
MORE = {**making.PLAIN, "notes.md": b"n" * 500}


@pytest.fixture
def library(db: None) -> Library:
    return making.library()


def allow(user: User, size: int) -> None:
    User.objects.filter(pk=user.pk).update(quota_bytes=size)
    user.refresh_from_db()


def test_a_file_counts_once_however_many_adapters_name_it(ada: User, library: Library) -> None:
    making.upload(ada, library)
    making.upload(ada, library, name="prose", files=MORE)

    assert quota.storage_of(ada).used == PLAIN + 500


def test_what_others_keep_and_what_was_deleted_does_not_count(ada: User, library: Library) -> None:
    making.upload(making.user("bob"), library, files=MORE)
    making.upload(ada, library)
    Adapter.objects.filter(owner=ada).update(deleted_at=timezone.now())

    assert quota.storage_of(ada).used == 0


def test_everybody_has_the_quota_of_the_settings_unless_the_admin_says_another(
    ada: User, settings: Settings
) -> None:
    settings.LIMITS = making.limits(user_quota_bytes=7)
    assert quota.storage_of(ada).quota == 7

    allow(ada, 0)
    assert quota.storage_of(ada).quota == 0


def test_an_upload_that_fits_exactly_is_kept_and_one_byte_more_is_not(ada: User, library: Library) -> None:
    allow(ada, PLAIN)
    making.upload(ada, library)

    with pytest.raises(OverQuota, match=rf"use {PLAIN:,} of the {PLAIN:,} bytes .* needs 1 more"):
        making.upload(ada, library, name="prose", files={**making.PLAIN, "notes.md": b"n"})
    assert not ada.adapters.filter(name="prose").exists()


def test_a_piece_that_does_not_fit_is_refused_before_its_bytes_are_taken(ada: User) -> None:
    allow(ada, 10)
    api = api_of(ada)
    name = hashlib.sha256(b"n" * 11).hexdigest()
    kind = "application/octet-stream"

    said = api.client.patch(
        f"/api/v1/uploads/{name}?offset=0&size=11", b"n" * 11, content_type=kind, headers=api.headers
    )

    assert (said.status_code, said.json()["error"]) == (413, "over_quota")
    assert api.get(f"/uploads/{name}").json()["received"] == 0


def test_programs_are_refused_when_they_announce_what_does_not_fit(ada: User) -> None:
    repositories.create(owner=ada, name="poetry")
    allow(ada, 10)
    api, url = api_of(ada), "/api/models/ada/poetry/preupload/main"
    announced = {"files": [{"path": "notes.md", "size": 11}]}
    objects = [{"oid": digit * 64, "size": 6} for digit in "ab"]
    batch = {"operation": "upload", "objects": objects}

    before = api.client.post(url, announced, content_type="application/json", headers=api.headers)
    large = api.client.post(
        "/ada/poetry.git/info/lfs/objects/batch", batch, content_type="application/json", headers=api.headers
    )

    assert before.status_code == large.status_code == 413
    assert "needs 11 more" in before.headers["X-Error-Message"]
    assert "needs 12 more" in large.headers["X-Error-Message"]


def test_a_form_that_does_not_fit_is_stopped_by_its_length(ada: User, library: Library) -> None:
    allow(ada, 0)
    form = {"name": "poetry", "files": [making.form_file("adapter_model.safetensors", b"n" * 2_000_000)]}
    browser = Client()
    browser.force_login(ada)

    said = browser.post(f"/libraries/{library.slug}/upload", form)

    assert said.status_code == 413
    assert "of the 0 bytes that you may keep here" in said.content.decode()


def test_storage_is_shown_before_an_upload(ada: User, library: Library) -> None:
    making.upload(ada, library)
    allow(ada, PLAIN + 10)
    browser = Client()
    browser.force_login(ada)

    page = browser.get(f"/libraries/{library.slug}/upload").content.decode()

    assert 'data-left="10"' in page
    assert api_of(ada).get("/whoami").json()["storage"] == {"used": PLAIN, "quota": PLAIN + 10}
