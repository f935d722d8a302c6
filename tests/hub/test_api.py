"""The JSON API: uploading and reading as programs do."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from hub.accounts.models import User
from hub.adapters.models import Adapter, Release
from hub.blobs.models import Blob
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.library import services as libraries
from hub.library.models import Library
from tests.hub import making
from tests.hub.conftest import Api, api_of

pytestmark = pytest.mark.django_db
UPLOAD = "/libraries/tiny/adapters/poetry/releases"


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def single_files(**extra: object) -> dict[str, object]:
    files = [SimpleUploadedFile(Path(path).name, content) for path, content in making.PLAIN.items()]
    return {"files": files, "paths": [f"poetry/{path}" for path in making.PLAIN], **extra}


@pytest.fixture
def api(ada: User) -> Api:
    making.library()
    return api_of(ada)


def test_files_sent_one_by_one_become_a_release_with_their_tree(api: Api) -> None:
    answer = api.send(UPLOAD, single_files(message="first"))

    assert answer.status_code == 202, answer.content
    body = answer.json()
    assert body["status"] == "received"
    detail = api.get(f"/adapters/ada/poetry/releases/{body['oid']}").json()
    assert [file["path"] for file in detail["files"]] == sorted(making.PLAIN)
    assert [job["kind"] for job in detail["jobs"]] == ["workers.validate"]


def test_a_zip_and_the_same_files_are_the_same_release_stored_once(api: Api) -> None:
    one = api.send(UPLOAD, single_files()).json()
    packed = zipped({f"folder/{path}": content for path, content in making.PLAIN.items()})
    two = api.send(UPLOAD, {"archive": SimpleUploadedFile("poetry.zip", packed)}).json()

    assert one["oid"] == two["oid"]
    assert Release.objects.count() == 1
    assert Blob.objects.count() == len(making.PLAIN)
    assert Job.objects.filter(kind=JobKind.VALIDATE).count() == 1


def test_the_same_files_with_mended_samples_are_examined_anew(api: Api) -> None:
    def send(rows: bytes) -> str:
        form = single_files(samples=SimpleUploadedFile("rows.jsonl", rows))
        return str(api.send(UPLOAD, form).json()["oid"])

    first, again, mended = send(b"{"), send(b"{"), send(b"{}")

    assert first == again
    assert mended != first
    assert api.send(UPLOAD, single_files()).json()["oid"] == mended
    assert Job.objects.filter(kind=JobKind.VALIDATE).count() == 2


def test_a_private_release_of_a_public_adapter_is_refused_and_not_published(api: Api) -> None:
    api.send(UPLOAD, single_files())

    answer = api.send(UPLOAD, single_files(private="true", message="for me alone"))

    assert answer.status_code == 409, answer.content
    assert "public" in answer.json()["detail"]
    assert Release.objects.count() == 1


def test_why_a_job_failed_is_not_told_to_everybody(api: Api) -> None:
    body = api.send(UPLOAD, single_files()).json()
    jobs.fail(making.take(JobKind.VALIDATE), "OSError: [Errno 28] No space left: '/srv/data/blobs/ab'")

    (job,) = api.get(f"/adapters/ada/poetry/releases/{body['oid']}").json()["jobs"]

    assert job["state"] == "failed"
    assert "operator" in job["error"]
    assert "/srv" not in job["error"]


def test_a_library_tells_of_its_newest_jobs(api: Api) -> None:
    place = Library.objects.get()
    for _ in range(60):
        newest = jobs.enqueue(JobKind.INDEX, library_id=place.pk)
        making.finish(JobKind.INDEX)

    told = api.get("/libraries/tiny").json()["jobs"]

    assert len(told) == 50
    assert told[0]["id"] == newest.pk


def test_a_text_with_a_nul_is_refused_as_every_database_would(api: Api, ada: User) -> None:
    release = making.upload(ada, Library.objects.get())

    withdrawn = api.post(f"/adapters/ada/poetry/releases/{release.oid}/yank", {"reason": "worse\0"})
    sent = api.send(UPLOAD, single_files(message="first\0"))

    assert (withdrawn.status_code, sent.status_code) == (400, 400)


@pytest.mark.parametrize("path", ["/api/v1/adapters/ada/po%00etry", "/ada/po%00etry", "/ada%00"])
def test_nothing_has_a_nul_in_its_address(path: str, django_assert_num_queries: Any, client: Client) -> None:
    with django_assert_num_queries(0):
        answer = client.get(path)

    assert answer.status_code == 404


def test_sample_rows_are_kept_beside_the_tree_and_not_in_it(api: Api) -> None:
    body = api.send(UPLOAD, single_files(samples=SimpleUploadedFile("rows.jsonl", b"{}\n"))).json()

    release = Release.objects.get()
    assert release.samples is not None
    assert release.samples.size == 3
    assert len(api.get(f"/adapters/ada/poetry/releases/{body['oid']}").json()["files"]) == 2


def test_the_temporary_folder_is_empty_after_an_upload_and_after_a_refusal(api: Api) -> None:
    api.send(UPLOAD, single_files())
    api.send(UPLOAD, {"archive": SimpleUploadedFile("poetry.zip", b"no zip at all")})

    assert list(settings.TEMPORARY.iterdir()) == []


def test_a_bad_archive_is_answered_with_findings(api: Api) -> None:
    answer = api.send(UPLOAD, {"archive": SimpleUploadedFile("poetry.zip", zipped({"../evil": b"x"}))})

    assert answer.status_code == 422
    body = answer.json()
    assert body["error"] == "bad_archive"
    assert body["findings"][0]["file"] == "../evil"
    assert Release.objects.count() == 0


def test_an_upload_without_files_is_answered_with_a_finding(api: Api) -> None:
    answer = api.send(UPLOAD, {"message": "nothing"})

    assert answer.status_code == 422
    assert answer.json()["findings"][0]["check"] == "upload-has-files"


def test_paths_that_do_not_match_the_files_are_refused(api: Api) -> None:
    assert api.send(UPLOAD, {**single_files(), "paths": ["one"]}).status_code == 400


def test_an_upload_over_the_cap_is_stopped_and_leaves_nothing(
    api: Api, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "hub.adapters.services.receive_upload", lambda **_: pytest.fail("came through the door")
    )
    settings.LIMITS = making.limits(adapter_bytes=1000, samples_bytes=0)
    big = SimpleUploadedFile("adapter_model.safetensors", b"x" * 3_000_000)

    answer = api.send(UPLOAD, {"files": [big]})

    assert answer.status_code == 413, answer.content
    assert answer.json()["error"] == "too_large"
    assert list(settings.TEMPORARY.iterdir()) == []
    assert Adapter.objects.count() == 0


def test_uploads_stop_at_the_floor_of_free_space_and_downloads_go_on(api: Api, settings: Settings) -> None:
    oid = api.send(UPLOAD, single_files()).json()["oid"]
    settings.LIMITS = making.limits(free_bytes=10**18, free_fraction=0.999999)

    assert api.send(UPLOAD, single_files()).status_code == 507
    assert Client().get(f"/ada/poetry/resolve/{oid}/adapter_config.json").status_code == 200


@pytest.mark.parametrize("name", ["-a", "a--b", "a/b", "a..b", "ä", "a.git", "x" * 97])
def test_names_that_clients_could_not_say_are_refused(api: Api, name: str) -> None:
    answer = api.send(f"/libraries/tiny/adapters/{name}/releases", single_files())

    assert answer.status_code in {400, 404}
    assert Adapter.objects.count() == 0


def test_a_name_that_differs_in_separators_only_is_taken(api: Api) -> None:
    api.send("/libraries/tiny/adapters/Foo-bar/releases", single_files())

    answer = api.send("/libraries/tiny/adapters/foo_BAR/releases", single_files())

    assert answer.status_code == 409


def test_a_library_that_does_not_know_its_base_yet_takes_no_uploads(ada: User) -> None:
    libraries.create_library(slug="raw", base_source="/bases/raw")

    answer = api_of(ada).send("/libraries/raw/adapters/poetry/releases", single_files())

    assert answer.status_code == 409
    assert "not ready" in answer.json()["detail"]


def test_where_base_and_encoder_lie_on_the_workers_is_said_to_maintainers_alone(ada: User) -> None:
    place = making.library(maintainer=ada)
    place.encoder = {"source": "/encoders/small", "revision": None, "name": "small:1"}
    place.save()
    making.ready(ada, place, "poetry")
    making.publish(place)

    def said(get: Any) -> tuple[str, str]:
        listed, alone = get("/libraries").json()[0], get("/libraries/tiny").json()
        assert listed["base_source"] == alone["base_source"]
        assert listed["encoder"] == alone["encoder"]
        return listed["base_source"], listed["encoder"]["source"]

    assert said(api_of(ada).get) == ("/bases/tiny", "/encoders/small")
    assert said(api_of(None).get) == said(api_of(making.user("cleo")).get) == ("tiny", "small")
    assert api_of(None).get("/libraries/tiny/versions/1").json()["encoder"]["source"] == "small"
    assert "/encoders" not in Client().get("/libraries/tiny").content.decode()


def test_a_session_alone_can_read_but_not_write(api: Api, ada: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(ada)

    assert browser.get("/api/v1/libraries").status_code == 200
    assert browser.post(f"/api/v1{UPLOAD}", single_files()).status_code == 401


def test_versions_their_diff_and_a_rollback(api: Api, ada: User) -> None:
    place = Library.objects.get()
    place.maintainer = ada
    place.save()
    making.ready(ada, place, "a")
    making.publish(place)
    making.ready(ada, place, "b")
    making.publish(place)

    assert [row["number"] for row in api.get("/libraries/tiny/versions").json()["items"]] == [2, 1]
    assert [row["adapter"] for row in api.get("/libraries/tiny/versions/2").json()["experts"]] == [
        "ada/a",
        "ada/b",
    ]
    part = api.get("/libraries/tiny/versions/2?limit=1&offset=1").json()
    assert ([row["adapter"] for row in part["experts"]], part["expert_count"]) == (["ada/b"], 2)
    diff = api.get("/libraries/tiny/diff?from=1&to=2").json()
    assert [row["adapter"] for row in diff["added"]] == ["ada/b"]
    assert api.post("/libraries/tiny/promote", {"number": 1, "reason": "worse"}).json()["number"] == 1
    assert api.get("/libraries/tiny").json()["current"] == 1
    assert api.get("/adapters/ada/b/releases/main").json()["served"] is False


def test_a_checkpoint_is_asked_for_once_and_followed(api: Api, ada: User) -> None:
    place = Library.objects.get()
    making.ready(ada, place, "a")
    making.publish(place)

    one = api.post("/libraries/tiny/checkpoints", {"kind": "adapter", "rank": 8})
    two = api.post("/libraries/tiny/checkpoints", {"kind": "adapter", "rank": 8, "version": 1})

    assert one.status_code == 202, one.content
    assert one.json()["id"] == two.json()["id"]
    assert one.json()["jobs"][0]["kind"] == "workers.compose"
    assert api.get(f"/checkpoints/{one.json()['id']}").json()["options"] == {"rank": 8}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/libraries/tiny/checkpoints", {"kind": "routed", "rank": 4}),
        ("/libraries/tiny/checkpoints", {"kind": "routed", "experts": ["ada/none"]}),
        ("/libraries/tiny/checkpoints", {"kind": "adapter", "rank": -1}),
        ("/libraries/tiny/checkpoints", {"kind": "merged", "bits": 16}),
        ("/libraries/tiny/checkpoints", {"kind": "other"}),
        ("/libraries/tiny/promote", {"number": "x"}),
        ("/libraries/tiny/promote", {"number": 1}),
        ("/libraries/tiny/promote", {"number": 1, "reason": "  "}),
        ("/libraries/tiny/promote", []),
        ("/libraries/tiny/promote", "{"),
    ],
)
def test_nonsense_is_answered_with_sentences(api: Api, ada: User, path: str, body: Any) -> None:
    place = Library.objects.get()
    place.maintainer = ada
    place.save()
    making.ready(ada, place, "a")
    making.publish(place)

    answer = api.post(path, body)

    assert answer.status_code == 400, answer.content
    assert set(answer.json()) == {"error", "detail", "findings"}
    assert answer.json()["detail"]


def test_an_unknown_address_of_the_api_is_answered_in_json() -> None:
    answer = Client().get("/api/v1/nowhere")

    assert answer.status_code == 404
    assert answer.json()["error"] == "not_found"


def test_reading_a_release_costs_the_same_number_of_queries_however_many_files(
    api: Api, django_assert_max_num_queries: Any
) -> None:
    files = {f"f{number}.txt": str(number).encode() for number in range(30)}
    release = making.upload(User.objects.get(), Library.objects.get(), "many", files)

    with django_assert_max_num_queries(9):
        assert len(api.get(f"/adapters/ada/many/releases/{release.oid}").json()["files"]) == 30


def test_listing_versions_and_experts_is_bounded_in_queries(
    api: Api, ada: User, django_assert_max_num_queries: Any
) -> None:
    place = Library.objects.get()
    for number in range(12):
        making.ready(ada, place, f"a{number}")
    making.publish(place)

    with django_assert_max_num_queries(6):
        assert len(api.get("/libraries/tiny/versions/1").json()["experts"]) == 12
    with django_assert_max_num_queries(6):
        api.get("/libraries/tiny/versions")


def test_the_openapi_document_describes_every_answer() -> None:
    document = json.loads(Client().get("/api/v1/openapi.json").content)

    assert document["openapi"].startswith("3.1")
    references = set(_references(document))
    assert references
    assert references <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["responses"] for operation in operations)


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for inner in node.values() for found in _references(inner)]
    if isinstance(node, list):
        return [found for inner in node for found in _references(inner)]
    return []
