"""Uploading for an organisation on the pages: by role at each step, on its storage, and nothing lost with a role."""

import hashlib
import html
import re
from typing import Any

import pytest
from django.test import Client

from hub.accounts import organisations
from hub.accounts.models import User
from hub.adapters import quota
from hub.adapters.models import Adapter, Release
from hub.library.models import Library
from tests.hub import making
from tests.pages import content
from tests.pages.conftest import seen_by
from tests.pages.test_queries import asked as questions
from tests.pages.test_sending import FILES, WEIGHTS, asked, plan, sent

HERS = {**making.PLAIN, "README.md": b"# Hers"}


@pytest.fixture
def library(db: None) -> Library:
    return content.found_library()


@pytest.fixture
def ada(db: None) -> User:
    return making.user("ada")


@pytest.fixture
def lab(ada: User, library: Library) -> User:
    return organisations.found(name="rhyme-lab", by=ada)


@pytest.fixture
def bob(ada: User, lab: User) -> User:
    user = making.user("bob")
    organisations.invite(organisation=lab, user=user, role="maintainer", by=ada)
    organisations.accept(organisation=lab, user=user)
    return user


def role(lab: User, user: User, role: str) -> None:
    by = User.objects.get(username="ada")
    organisations.change_role(organisation=lab, user=user, role=role, by=by)


def page_of(client: Client, where: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(client.get(where).content.decode()))


def sent_for(client: Client, data: bytes, **cut: int) -> Any:
    where = f"/upload/pieces/{hashlib.sha256(data).hexdigest()}"
    start, stop = cut.get("start", 0), cut.get("stop")
    address = f"{where}?offset={start}&size={len(data)}&owner=rhyme-lab"
    kind = "application/octet-stream"
    return client.patch(address, data[start:stop], content_type=kind, headers={"Accept": "*/*"})


def test_a_maintainer_uploads_its_adapter_and_the_next_release(lab: User, bob: User) -> None:
    client, named = seen_by(bob), plan(owner="Rhyme-Lab")
    asked(client, "begin", named)
    for data in FILES.values():
        assert sent_for(client, data).json()["complete"]

    made = asked(client, "finish", named)
    after = {**FILES, "README.md": b"# Second"}
    here = asked(client, "begin", plan(after, owner="rhyme-lab")).json()["here"]
    sent_for(client, b"# Second")
    second = asked(client, "finish", plan(after, owner="rhyme-lab"))

    release = Release.objects.get(number=2)
    assert (made.status_code, second.status_code) == (201, 201)
    assert release.adapter.full_name == "rhyme-lab/poetry"
    assert release.commit.author == bob
    assert here[hashlib.sha256(WEIGHTS).hexdigest()]["complete"]  # its own bytes are not sent again
    assert quota.storage_of(lab).used > len(WEIGHTS)
    assert quota.storage_of(bob).used == 0
    assert 'href="/libraries/demo/upload?name=poetry&owner=rhyme-lab"' in page_of(client, "/rhyme-lab/poetry")


def test_a_plain_form_takes_the_owner_too(lab: User, bob: User) -> None:
    client = seen_by(bob)
    files = [making.form_file(*one) for one in HERS.items()]

    shown = page_of(client, "/libraries/demo/upload?owner=rhyme-lab")
    made = client.post("/upload", {"library": "demo", "name": "odes", "owner": "rhyme-lab", "files": files})
    refused = client.post("/upload", {"library": "demo", "name": "odes", "owner": "ada", "files": files})

    assert re.search(r'value="rhyme-lab"[^>]* checked', shown)
    assert "Storage of rhyme-lab" in shown
    assert "--owner rhyme-lab" in shown
    assert made["Location"].startswith("/rhyme-lab/odes/releases/")
    assert refused.status_code == 403
    assert "ada/... is not yours to upload to" in refused.content.decode()


def test_who_belongs_to_none_is_asked_nothing_and_who_is_only_a_member_may_not(lab: User, bob: User) -> None:
    role(lab, bob, "member")
    client = seen_by(bob)

    assert "Whose will it be?" not in page_of(client, "/libraries/demo/upload")
    assert client.get("/libraries/demo/upload?owner=rhyme-lab").status_code == 403
    assert asked(client, "begin", plan(owner="rhyme-lab")).status_code == 403
    assert "?owner=rhyme-lab" not in page_of(client, "/rhyme-lab")


def test_a_role_that_is_withdrawn_ends_it_at_each_step_and_loses_nothing(lab: User, bob: User) -> None:
    client, named = seen_by(bob), plan(owner="rhyme-lab")
    asked(client, "begin", named)
    sent_for(client, WEIGHTS, stop=100_000)
    role(lab, bob, "member")

    refused = [
        asked(client, "begin", named),
        sent_for(client, WEIGHTS, start=100_000),
        asked(client, "finish", named),
    ]
    shown = page_of(client, "/libraries/demo/upload")
    own = plan()
    here = asked(client, "begin", own).json()["here"]
    sent(client, WEIGHTS, start=100_000)
    for data in FILES.values():
        sent(client, data)

    assert {answer.status_code for answer in refused} == {403}
    assert all("rhyme-lab/... is not yours to upload to" in one.json()["detail"] for one in refused)
    assert "You no longer upload for rhyme-lab" in shown
    assert 'href="/libraries/demo/upload?name=poetry"' in shown
    assert here[hashlib.sha256(WEIGHTS).hexdigest()]["received"] == 100_000
    assert asked(client, "finish", own).status_code == 201
    assert Adapter.objects.get().full_name == "bob/poetry"
    assert client.post("/upload/unfinished/poetry/forget?owner=rhyme-lab").status_code == 204
    assert "Unfinished" not in page_of(client, "/libraries/demo/upload")


def test_its_storage_counts_and_not_that_of_whoever_sends(lab: User, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(quota_bytes=10)
    client = seen_by(bob)

    taken = asked(client, "begin", plan(owner="rhyme-lab"))
    piece = sent_for(client, WEIGHTS)
    files = [making.form_file(*one) for one in {**FILES, "more": b"m" * 2 * 2**20}.items()]
    whole = client.post("/upload", {"library": "demo", "name": "odes", "owner": "rhyme-lab", "files": files})
    User.objects.filter(pk=lab.pk).update(quota_bytes=1000)
    full = asked(client, "begin", plan({**FILES, "new": b"n" * 2000}, owner="rhyme-lab"))

    assert (taken.status_code, piece.status_code, whole.status_code) == (200, 200, 302)
    assert full.status_code == 413
    assert "rhyme-lab uses" in full.json()["detail"]
    assert "may keep here" in full.json()["detail"]


def test_its_people_see_what_is_being_uploaded_and_nobody_else(lab: User, bob: User, ada: User) -> None:
    asked(seen_by(bob), "begin", plan(owner="rhyme-lab"))
    sent_for(seen_by(bob), WEIGHTS, stop=100_000)
    making.upload(lab, Library.objects.get(), "odes", private=True, by=ada)

    hers, his, others = (page_of(seen_by(who), "/rhyme-lab") for who in (ada, bob, making.user("eve")))

    assert "Uploads in progress" in hers
    assert "by bob" in hers
    assert "97.7 KiB of 136." in hers
    assert "release 1, received" in hers
    assert "Go on" not in hers
    assert 'href="/libraries/demo/upload?name=poetry&owner=rhyme-lab"' in his
    assert "Uploads in progress" not in others
    assert "poetry" not in others


def test_many_uploads_of_many_people_cost_as_many_questions_as_one(lab: User, bob: User, ada: User) -> None:
    client, counts = seen_by(ada), []
    for number, who in enumerate([ada, bob, bob]):
        asked(seen_by(who), "begin", plan(owner="rhyme-lab", name=f"verses-{number}"))
        counts.append([questions(client, "/rhyme-lab"), questions(client, "/libraries/demo/upload")])

    assert counts[0] == counts[1] == counts[2]


def test_fixing_a_release_asks_the_role_again(lab: User, bob: User) -> None:
    release = making.upload(lab, Library.objects.get(), files=content.files("mend"), by=bob)
    content.judge(release, content.FINDINGS)
    address = f"/rhyme-lab/poetry/releases/{release.oid}/mend"
    client, mended = seen_by(bob), {"added": [making.form_file("notes.md", b"# New")]}

    made = client.post(address, mended)
    role(lab, bob, "member")
    refused = client.post(address, {"added": [making.form_file("more.md", b"# More")]})

    assert made.status_code == 302
    assert Release.objects.get(number=2).commit.author == bob
    assert refused.status_code == 403
    assert Release.objects.count() == 2
