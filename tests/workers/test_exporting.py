"""Releases and checkpoints go to other hubs by the real client, and are known again when they come back.

The other hub is this one: it is spoken to over a socket, as somebody else, and knows no difference.
"""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from hub.accounts import services as accounts
from hub.accounts.models import User
from hub.adapters import access, commits, repositories
from hub.adapters import services as adapters
from hub.adapters.commits import Put
from hub.adapters.models import Adapter, Commit, Release
from hub.blobs import services as blobs
from hub.exports import services
from hub.exports.models import Export
from hub.exports.services import Wish
from hub.hf import describing
from hub.jobs.models import Job, JobKind
from hub.library.models import Library
from hub.mirrors import services as mirrors
from tests.hub import making
from tests.hub.conftest import room
from tests.workers.at_once import at_once
from tests.workers.uploading import work_off
from workers import exporting

__all__ = ["at_once", "room"]
pytestmark = pytest.mark.django_db(transaction=True)
HERE = "https://hub.example"
CARD = b"---\nlicense: mit\ntags: [poems]\n---\n# Poems\n"
LARGE = b"w" * (describing.LARGE + 7)
FILES = {**making.PLAIN, "adapter_model.safetensors": LARGE, "README.md": CARD}


@pytest.fixture
def there(live_server: LiveServer, settings: Settings) -> str:
    """The other hub's address, to which exports may go and from which imports may come."""
    settings.EXPORT_TO = settings.IMPORT_FROM = (live_server.url,)
    return str(live_server.url)


@pytest.fixture
def library(transactional_db: None) -> Library:
    return making.library(maintainer=making.user("cleo"))


@pytest.fixture
def ada(transactional_db: None) -> User:
    return making.user("ada")


@pytest.fixture
def eve(transactional_db: None) -> User:
    """Who has an account at the other hub."""
    return making.user("eve")


def token_of(user: User, *scopes: str) -> str:
    _, secret = accounts.issue_token(user=user, name="there", scopes=scopes or ("write",))
    return secret


def exported(release: Release, token: str, *, repo: str = "eve/verses", **wish: Any) -> Export:
    """Asked for and worked off."""
    owner = release.adapter.owner
    asked = services.export_release(release=release, by=owner, wish=Wish(repo, token, **wish), hub=HERE)
    return worked_off(asked)


def worked_off(export: Export) -> Export:
    for job in Job.objects.filter(kind=JobKind.EXPORT, state="queued"):
        work_off(job)
    return Export.objects.get(pk=export.pk)


def tree_there(name: str = "verses") -> dict[str, bytes]:
    adapter = Adapter.objects.get(owner__username="eve", name=name)
    head = adapter.refs.get(name="main").commit
    return {file.path: blobs.local_path(file.blob_id).read_bytes() for file in head.files.all()}


def test_a_release_arrives_whole_under_a_card_that_says_where_it_is_from(
    there: str, library: Library, ada: User, eve: User
) -> None:
    release = making.ready(ada, library, files=FILES)

    export = exported(release, token_of(eve))

    assert (export.status, export.note, export.token) == ("done", "", "")
    commit = Commit.objects.get(oid=export.commit)
    assert (commit.adapter.full_name, commit.adapter.private) == ("eve/verses", False)
    assert commit.message == f"Release 1 of ada/poetry\n\nPushed from {HERE}/ada/poetry@{release.oid}"
    arrived = tree_there()
    card = arrived.pop("README.md").decode()
    assert arrived == {path: content for path, content in FILES.items() if path != "README.md"}
    head, body = card.removeprefix("---\n").split("---\n", 1)
    assert body == "# Poems\n"
    front = yaml.safe_load(head)
    assert front["fletch_origin"] == f"{HERE}/ada/poetry@{release.oid}"
    assert front["fletch_verdict"]["status"] == "ready"
    assert (front["license"], front["tags"]) == ("mit", ["poems"])
    assert Job.objects.get(kind=JobKind.EXPORT).progress_total > len(LARGE)


def test_what_was_pushed_before_and_is_gone_is_removed_and_what_others_put_there_stays(
    there: str, at_once: None, library: Library, ada: User, eve: User
) -> None:
    first = making.ready(ada, library, files={**FILES, "notes.txt": b"old"})
    exported(first, token_of(eve))
    adapter = Adapter.objects.get(owner=eve)
    theirs = making.staged({"theirs.txt": b"eve's"})[0]
    commits.commit(
        adapter=adapter,
        by=eve,
        branch="main",
        changes=[Put("theirs.txt", blobs.store_file(theirs.source))],
        message="A file of mine",
    )
    second = making.ready(ada, library, files=FILES)

    export = exported(second, token_of(eve))

    assert export.status == "done"
    assert set(tree_there()) == {*FILES, "theirs.txt"}
    assert exported(second, token_of(eve)).commit == export.commit, "the same again is no new commit"


def test_a_worker_that_ends_before_it_says_what_it_pushed_leaves_that_to_the_next(
    there: str, at_once: None, library: Library, ada: User, eve: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends_there(point: str) -> None:
        if point == "export.pushed":
            raise OSError("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "reach", ends_there)
        waiting = exported(making.ready(ada, library, files=FILES), token_of(eve))
    assert (waiting.status, bool(waiting.token)) == ("requested", True)
    (commit,) = Commit.objects.filter(adapter__owner=eve).exclude(parent=None)
    Job.objects.filter(kind=JobKind.EXPORT).update(not_before=waiting.created_at)

    done = worked_off(waiting)

    assert (done.status, done.commit, done.token) == ("done", commit.oid, "")
    assert Commit.objects.filter(adapter__owner=eve).count() == 2, "its first one holds nothing"


CLOSED = [
    (lambda adapter: repositories.show(adapter=adapter, private=True), "private"),
    (lambda adapter: access.gate(adapter=adapter, gating="manual"), "gated"),
]


@pytest.mark.parametrize(("close", "word"), CLOSED)
def test_what_is_closed_here_goes_into_a_private_repository_and_into_no_open_one(
    there: str,
    at_once: None,
    library: Library,
    ada: User,
    eve: User,
    close: Callable[[Adapter], None],
    word: str,
) -> None:
    release = making.ready(ada, library)
    repositories.create(owner=eve, name="open")
    close(release.adapter)
    release.adapter.refresh_from_db()

    refused = exported(release, token_of(eve), repo="eve/open")
    done = exported(release, token_of(eve), repo="eve/closed")

    assert (refused.status, refused.commit, refused.token) == ("refused", "", "")
    assert f"eve/open at {there} is open, and what would be pushed is {word}" in refused.note
    assert (done.status, done.note) == ("done", "")
    assert Adapter.objects.get(owner=eve, name="closed").private
    assert tree_there("open") == {}


def test_a_private_repository_can_be_asked_for(
    there: str, at_once: None, library: Library, ada: User, eve: User
) -> None:
    assert exported(making.ready(ada, library), token_of(eve), private=True).status == "done"
    assert Adapter.objects.get(owner=eve).private


def test_a_token_that_is_not_taken_is_said_and_forgotten(
    there: str, at_once: None, library: Library, ada: User, eve: User
) -> None:
    release = making.ready(ada, library)

    unknown = exported(release, "hf_nobody")
    reads = exported(release, token_of(eve, "read"))
    foreign = exported(release, token_of(eve), repo="ada/poetry")

    assert f"{there} does not accept the token" in unknown.note
    assert f"{there} does not let this token write there" in reads.note
    assert "ada" in foreign.note
    assert {unknown.status, reads.status, foreign.status} == {"refused"}
    assert not Export.objects.exclude(token="").exists()
    assert not any("hf_nobody" in f"{job.log} {job.error} {job.subject}" for job in Job.objects.all())


def test_a_checkpoint_arrives_with_the_names_and_licences_of_its_experts(
    there: str, at_once: None, library: Library, ada: User, eve: User
) -> None:
    release = making.ready(ada, library, files=FILES)
    checkpoint = making.checkpoint(
        making.publish(library), {"README.md": b"# How to load it\n", "x.bin": LARGE}
    )
    cleo = library.maintainer
    assert cleo is not None

    asked = services.export_checkpoint(
        checkpoint=checkpoint, by=cleo, wish=Wish("eve/whole", token_of(eve)), hub=HERE
    )
    export = worked_off(asked)

    assert (export.status, export.note) == ("done", "")
    arrived = tree_there("whole")
    front = yaml.safe_load(arrived["README.md"].decode().split("---\n")[1])
    assert front["fletch_origin"] == f"{HERE}/checkpoints/{checkpoint.pk}"
    assert front["fletch_experts"] == [{"release": f"ada/poetry@{release.oid}", "license": "mit"}]
    assert (front["license"], front["fletch_verdict"]["experts"]) == ("mit", 1)
    assert "base_model" not in front, "it is a folder of this machine"
    assert arrived["x.bin"] == LARGE


@pytest.mark.parametrize(("maintainer", "weights"), [("cleo", LARGE), ("ada", b"small")])
def test_what_comes_back_is_known_by_its_weights(
    there: str, at_once: None, library: Library, ada: User, eve: User, maintainer: str, weights: bytes
) -> None:
    release = making.ready(ada, library, files={**FILES, "adapter_model.safetensors": weights})
    export = exported(release, token_of(eve))
    by = User.objects.get(username=maintainer)

    mirror = mirrors.mirror(library=library, by=by, repo="eve/verses", endpoint=there, name="poetry")
    work_off(Job.objects.get(kind=JobKind.IMPORT))

    mirror.refresh_from_db()
    assert (mirror.commit, mirror.note) == (
        export.commit,
        "these weights came from here, as ada/poetry #1",
    )
    assert Release.objects.filter(adapter__library=library, adapter__owner=by).count() == (by == ada)


def test_what_comes_back_does_not_tell_of_what_is_private_by_now(
    there: str, at_once: None, library: Library, ada: User, eve: User
) -> None:
    release = making.ready(ada, library, files=FILES)
    exported(release, token_of(eve))
    repositories.show(adapter=release.adapter, private=True)
    cleo = User.objects.get(username="cleo")

    mirror = mirrors.mirror(library=library, by=cleo, repo="eve/verses", endpoint=there)
    work_off(Job.objects.get(kind=JobKind.IMPORT))

    mirror.refresh_from_db()
    assert mirror.note == "these weights came from here"


def test_what_may_not_go_any_more_is_not_pushed(
    there: str, at_once: None, library: Library, ada: User, eve: User, settings: Settings
) -> None:
    held = making.ready(ada, library, "held")
    other = making.ready(ada, library, "other", {**making.PLAIN, "notes.txt": b"x"})
    wishes = [Wish(f"eve/{name}", token_of(eve)) for name in ("held", "other")]
    asked = [
        services.export_release(release=release, by=ada, wish=wish, hub=HERE)
        for release, wish in zip((held, other), wishes, strict=True)
    ]
    adapters.quarantine(release=held, by=None, reason="a doubt")
    job_of_other = Job.objects.filter(kind=JobKind.EXPORT).latest("pk")

    work_off(Job.objects.filter(kind=JobKind.EXPORT).earliest("pk"))
    settings.EXPORT_TO = ("https://elsewhere.example",)
    work_off(job_of_other)

    notes = [Export.objects.get(pk=export.pk).note for export in asked]
    assert "is in quarantine, so it is not exported: a doubt" in notes[0]
    assert "no longer; the operator decides" in notes[1]
    assert not Adapter.objects.filter(owner=eve).exists()
