"""Fix and try again: what was right is kept, what was wrong is edited or replaced, and the rest is a new release."""

import html
import json

import pytest
from django.conf import settings
from django.test import Client

from hub.accounts.models import User
from hub.adapters.models import CommitFile, Release
from hub.errors import FindingJson
from tests.hub import making
from tests.pages import content
from tests.pages.conftest import seen_by
from tests.pages.test_sending import asked, digest, planned, sent

WRONG: FindingJson = {
    "check": "adapter-config",
    "severity": "error",
    "file": "adapter_config.json",
    "field": "lora_bias",
    "found": "True",
    "expected": "False, because an expert is a product of two matrices, without a bias",
    "fix": "Train without it.",
}
ROWS = b'{"prompt": "a", "completion": "b"}\n'


@pytest.fixture
def ada(db: None) -> User:
    return making.user("ada")


@pytest.fixture
def rejected(ada: User) -> Release:
    files = making.staged({"rows": ROWS})
    release = making.upload(
        ada, content.found_library(), files=content.files("mend"), samples=files[0].source
    )
    content.judge(release, [WRONG])
    return release


@pytest.fixture
def client(ada: User) -> Client:
    return seen_by(ada)


def address(release: Release) -> str:
    return f"/{release.adapter.full_name}/releases/{release.oid}/mend"


def fields(client: Client, release: Release) -> dict[str, str]:
    """The texts as a browser would send them back, by their file."""
    page = client.get(address(release)).content.decode()
    found = {}
    for number, file in enumerate(release.commit.files.all()):
        if f'name="text-{number}"' in page:
            text = page.partition(f'name="text-{number}"')[2].partition(">")[2].partition("</textarea>")[0]
            found[file.path] = html.unescape(text.removeprefix("\n")).replace("\n", "\r\n")
    return found


def form(release: Release, texts: dict[str, str], **more: object) -> dict[str, object]:
    numbers = {file.path: number for number, file in enumerate(release.commit.files.all())}
    return {f"text-{numbers[path]}": text for path, text in texts.items()} | more


def tree(release: Release) -> dict[str, str]:
    return dict(release.commit.files.values_list("path", "blob_id"))


def test_a_corrected_configuration_alone_makes_the_next_release(client: Client, rejected: Release) -> None:
    texts = fields(client, rejected)
    corrected = json.dumps({**json.loads(texts["adapter_config.json"]), "lora_bias": False}, indent=2)

    answer = client.post(
        address(rejected), form(rejected, {**texts, "adapter_config.json": corrected}, message="no bias")
    )

    made = Release.objects.get(number=2)
    before, after = tree(rejected), tree(made)
    assert answer["Location"] == f"/ada/poetry/releases/{made.oid}"
    assert made.status == Release.Status.RECEIVED
    assert made.commit.message == "no bias"
    assert {path for path in before if before[path] != after[path]} == {"adapter_config.json"}
    assert made.samples_id == rejected.samples_id
    assert list(settings.TEMPORARY.iterdir()) == []


def test_files_are_replaced_left_out_and_added(client: Client, rejected: Release) -> None:
    numbers = {file.path: number for number, file in enumerate(rejected.commit.files.all())}
    sent = {
        f"file-{numbers['adapter_model.safetensors']}": making.form_file("other.safetensors", b"others"),
        f"leave-{numbers['README.md']}": "on",
        "added": [making.form_file("LICENSE", b"do what you like")],
        "leave-samples": "on",
    }

    client.post(address(rejected), sent)

    made = Release.objects.get(number=2)
    assert set(tree(made)) == {"LICENSE", "adapter_config.json", "adapter_model.safetensors"}
    assert CommitFile.objects.get(commit=made.commit, path="adapter_model.safetensors").blob.size == 6
    assert made.samples_id is None


def test_large_files_come_in_pieces_each_from_where_it_broke_off(client: Client, rejected: Release) -> None:
    numbers = {file.path: number for number, file in enumerate(rejected.commit.files.all())}
    weights, notes, rows = b"mended" * 20_000, b"# Notes", b'{"prompt": "c", "completion": "d"}\n'
    listed = [planned("adapter_model.safetensors", weights), planned("notes.md", notes)]
    plan = {
        "library": "demo",
        "owner": "ada",
        "name": "poetry",
        "mends": rejected.oid,
        "files": listed,
        "rows": planned("samples.jsonl", rows),
    }
    asked(client, "begin", plan)
    sent(client, weights, size=50_000)

    unfinished = client.get("/libraries/demo/upload").content.decode()
    here = asked(client, "begin", plan).json()["here"][digest(weights)]["received"]
    too_soon = client.post(address(rejected), {f"sent-{numbers['README.md']}": digest(weights)})
    sent(client, weights, start=here)
    for data in (notes, rows):
        sent(client, data)
    whole = asked(client, "finish", plan)
    texts = fields(client, rejected)
    fitting = {
        f"sent-{numbers['adapter_model.safetensors']}": digest(weights),
        "sent-added": digest(notes),
        "sent-name": "notes.md",
        "sent-samples": digest(rows),
    }
    twice = client.post(address(rejected), {**fitting, "sent-name": "adapter_model.safetensors"})
    made = client.post(
        address(rejected), form(rejected, texts, **fitting), headers={"X-Requested-With": "XMLHttpRequest"}
    )

    release = Release.objects.get(number=2)
    assert f'href="{address(rejected)}"' in unfinished
    assert here == 50_000
    assert (too_soon.status_code, whole.status_code, twice.status_code) == (404, 400, 400)
    assert "upload them first" in too_soon.content.decode()
    assert "adapter_model.safetensors: found twice" in twice.content.decode()
    assert (made.status_code, made["Location"]) == (201, f"/ada/poetry/releases/{release.oid}")
    assert tree(release) == {
        **tree(rejected),
        "adapter_model.safetensors": digest(weights),
        "notes.md": digest(notes),
    }
    assert release.samples_id == digest(rows)
    assert list(settings.TEMPORARY.iterdir()) == []


def test_what_was_found_stands_beside_the_file_that_it_is_about(client: Client, rejected: Release) -> None:
    report = client.get(f"/ada/poetry/releases/{rejected.oid}").content.decode()
    page = client.get(address(rejected)).content.decode()

    assert f'href="{address(rejected)}"' in report
    part = page.partition("<code>adapter_config.json</code></h3>")[2].partition("</details>")[0]
    assert "1 error" in part
    assert "without a bias" in part
    assert "lora_bias" not in page.partition("<code>README.md</code></h3>")[2].partition("</details>")[0]


def test_unchanged_files_make_no_release_and_lose_nothing(client: Client, rejected: Release) -> None:
    answer = client.post(address(rejected), form(rejected, fields(client, rejected), message="the same"))

    assert answer.status_code == 400
    assert "Nothing differs from release 1" in answer.content.decode()
    assert 'value="the same"' in answer.content.decode()
    assert Release.objects.count() == 1


def test_a_refusal_keeps_what_was_typed(client: Client, rejected: Release) -> None:
    texts = {"README.md": "# Other words\n"}
    twice = [making.form_file("README.md", b"# third")]

    answer = client.post(address(rejected), form(rejected, texts, added=twice))

    assert "README.md: found twice" in answer.content.decode()
    assert "# Other words" in answer.content.decode()
    assert Release.objects.count() == 1


@pytest.mark.parametrize(("private", "status"), [(False, 403), (True, 404)])
def test_nobody_mends_what_is_somebody_else_s(ada: User, *, private: bool, status: int) -> None:
    release = making.upload(ada, content.found_library(), files=content.files("hers"), private=private)
    bob = seen_by(making.user("bob"))

    assert bob.get(address(release)).status_code == status
    assert bob.post(address(release), {"message": "mine now"}).status_code == status
    assert Client().get(address(release))["Location"].startswith("/accounts/login/")
    assert "Fix and try again" not in bob.get("/ada/poetry").content.decode()


def test_a_card_that_is_missing_is_written_on_the_page(client: Client, ada: User) -> None:
    release = making.upload(ada, content.found_library(), files=content.files("bare", None))

    client.post(address(release), {"text-2": "# Poetry\r\n\r\nRhymes.\r\n"})

    made = Release.objects.get(number=2)
    assert CommitFile.objects.get(commit=made.commit, path="README.md").blob.size == len(
        "# Poetry\n\nRhymes.\n"
    )
