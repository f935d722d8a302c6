"""The upload form, as a browser without scripts sends it and as ours sends it."""

import io
import zipfile

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from hub.accounts.models import User
from hub.adapters.models import Release
from hub.library.models import Library
from tests.hub import making
from tests.pages import content
from tests.pages.conftest import seen_by

SCRIPT = {"X-Requested-With": "XMLHttpRequest"}


@pytest.fixture
def library(db: None) -> Library:
    return content.found_library()


@pytest.fixture
def client(library: Library) -> Client:
    return seen_by(making.user("ada"))


def form(**fields: object) -> dict[str, object]:
    files = [SimpleUploadedFile(path, data) for path, data in content.files("form").items()]
    return {"name": "poetry", "message": "first", "files": files, **fields}


def zipped(**members: str) -> SimpleUploadedFile:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return SimpleUploadedFile("adapter.zip", buffer.getvalue())


def test_a_plain_form_leads_to_the_release(client: Client) -> None:
    answer = client.post("/libraries/demo/upload", form())

    release = Release.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == f"/ada/poetry/releases/{release.oid}"
    assert release.commit.message == "first"
    assert [file.path for file in release.commit.files.all()] == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_our_script_is_told_where_the_release_is(client: Client) -> None:
    answer = client.post("/libraries/demo/upload", form(paths=list(content.files("form"))), headers=SCRIPT)

    assert answer.status_code == 201
    assert answer["Location"].startswith("/ada/poetry/releases/")


def test_folders_are_kept_by_their_paths(client: Client) -> None:
    paths = ["adapter_config.json", "adapter_model.safetensors", "notes/README.md"]

    client.post("/libraries/demo/upload", form(paths=paths))

    assert [file.path for file in Release.objects.get().commit.files.all()] == paths


def test_an_archive_is_unpacked(client: Client) -> None:
    archive = zipped(mine__adapter_config_json="{}", mine__x="y")

    answer = client.post("/libraries/demo/upload", {"name": "poetry", "archive": archive})

    assert answer.status_code == 302
    assert [file.path for file in Release.objects.get().commit.files.all()] == ["adapter_config_json", "x"]


def test_the_same_upload_again_leads_to_the_same_release(client: Client) -> None:
    first = client.post("/libraries/demo/upload", form())
    second = client.post("/libraries/demo/upload", form())

    assert first["Location"] == second["Location"]
    assert Release.objects.count() == 1


def test_a_refused_archive_is_explained_beside_the_form_and_nothing_typed_is_lost(client: Client) -> None:
    archive = zipped(**{"..__..__etc__passwd": "root"})

    answer = client.post(
        "/libraries/demo/upload", {"name": "poetry", "message": "careful words", "archive": archive}
    )

    page = answer.content.decode()
    assert answer.status_code == 422
    assert "../../etc/passwd" in page
    assert "Expected" in page
    assert 'value="poetry"' in page
    assert "careful words" in page
    assert not Release.objects.exists()


def test_a_name_that_cannot_be_is_marked_at_its_field(client: Client) -> None:
    page = client.post("/libraries/demo/upload", form(name="-no-")).content.decode()

    assert "is no name for an adapter" in page
    assert 'aria-invalid="true"' in page
    assert "first" in page


def test_no_files_at_all_are_no_release(client: Client) -> None:
    answer = client.post("/libraries/demo/upload", {"name": "poetry"})

    assert 400 <= answer.status_code < 500
    assert not Release.objects.exists()


def test_sample_rows_are_kept_apart_from_the_files(client: Client) -> None:
    rows = SimpleUploadedFile("rows.jsonl", b'{"prompt": "a", "completion": "b"}\n')

    client.post("/libraries/demo/upload", form(samples=rows))

    release = Release.objects.get()
    assert release.samples is not None
    assert release.samples.sha256 not in release.commit.files.values_list("blob", flat=True)
    page = client.get(f"/ada/poetry/releases/{release.oid}").content.decode()
    assert release.samples.sha256 not in page


def test_the_page_states_the_limits_that_hold(client: Client) -> None:
    page = client.get("/libraries/demo/upload").content.decode()

    assert f'data-bytes="{settings.LIMITS.adapter_bytes}"' in page
    assert "2.0 GiB" in page
    assert "Nobody reads these rows but the workers of this hub." in page
    assert "where a library trains gates, its gates learn from them" in page


def test_a_next_release_begins_with_its_name(client: Client) -> None:
    assert 'value="poetry"' in client.get("/libraries/demo/upload?name=poetry").content.decode()


def test_a_name_that_belongs_to_another_library_is_a_conflict(client: Client) -> None:
    content.found_library("other")
    client.post("/libraries/demo/upload", form())

    answer = client.post("/libraries/other/upload", form())

    assert answer.status_code == 409
    assert "belongs to the library demo" in answer.content.decode()


def test_whoever_is_not_signed_in_comes_back_here_afterwards(library: Library) -> None:
    answer = Client().get("/libraries/demo/upload")

    assert answer["Location"] == "/accounts/login/?next=/libraries/demo/upload"


def test_a_private_upload_is_seen_by_its_owner_only(client: Client) -> None:
    client.post("/libraries/demo/upload", form(private="on"))

    assert client.get("/ada/poetry").status_code == 200
    assert seen_by(User.objects.create_user("bob")).get("/ada/poetry").status_code == 404
