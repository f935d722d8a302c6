"""Pushing to another hub from the pages: whoever may sees a form and what came of it, nobody else sees anything."""

import pytest
from django.test import Client
from pytest_django import Settings

from hub.accounts.models import User
from hub.adapters import repositories
from hub.exports import sealing
from hub.exports.models import Export
from tests.pages.conftest import seen_by
from tests.pages.content import Content

BY_SCRIPT = {"X-Requested-With": "XMLHttpRequest"}
THERE = "https://other-hub.example"
FORM = {"endpoint": THERE, "repo": "ada-l/new", "token": "hf_theirs"}


@pytest.fixture
def allowed(settings: Settings) -> None:
    settings.EXPORT_TO = (THERE,)


def text(client: Client, path: str) -> str:
    return str(client.get(path).content.decode())


def sent(user: User, path: str, **form: str) -> str:
    """The page that follows."""
    answer = seen_by(user).post(f"{path}/export", {**FORM, **form}, follow=True)
    assert "hf_theirs" not in answer.content.decode()
    return str(answer.content.decode())


def test_an_owner_pushes_and_sees_what_came_of_each(made: Content, allowed: None) -> None:
    adapter = f"/{made.ready.adapter.full_name}"

    page = sent(made.contributor, f"{adapter}/releases/{made.ready.oid}")

    assert "Asked. It is pushed as soon as a worker is free" in page
    newest = Export.objects.latest("pk")
    assert (newest.place, sealing.opened(newest.token)) == (f"{THERE}/ada-l/new", "hf_theirs")
    assert newest.hub == "http://testserver"
    assert f'data-live="/exports/{newest.pk}"' in page
    assert f'href="{THERE}/ada-l/haiku/commit/{"c0ffee" * 6}c0ff"' in page
    assert "does not let this token write there" in page
    for other in (None, made.newcomer, made.maintainer):
        assert "ada-l" not in text(seen_by(other), adapter)


def test_a_maintainer_pushes_a_checkpoint(made: Content, allowed: None) -> None:
    page = sent(made.maintainer, f"/checkpoints/{made.checkpoint.pk}", repo="demo/again")
    assert f"{THERE}/demo/again" in page
    assert "demo/whole" not in text(seen_by(made.contributor), f"/checkpoints/{made.checkpoint.pk}")


def test_what_is_wrong_is_said_on_the_page(made: Content, allowed: None) -> None:
    path = f"/{made.ready.adapter.full_name}/releases/{made.ready.oid}"
    count = Export.objects.count()

    assert "Repo is &#x27;verses&#x27;; expected owner/name" in sent(made.contributor, path, repo="verses")
    assert "To: Select a valid choice." in sent(made.contributor, path, endpoint="https://evil.example")
    assert "in quarantine" in sent(
        User.objects.get(username="bob"),
        f"/{made.quarantined.adapter.full_name}/releases/{made.quarantined.oid}",
    )

    assert Export.objects.count() == count


def test_where_exporting_is_off_there_is_no_form_and_what_was_pushed_stays(made: Content) -> None:
    page = text(seen_by(made.contributor), f"/{made.ready.adapter.full_name}")
    assert "ada-l/haiku" in page
    assert "Token of the other hub" not in page
    assert 'id="exports"' not in text(seen_by(made.contributor), f"/{made.waiting.adapter.full_name}")


def test_a_private_adapter_is_said_to_stay_so(made: Content, allowed: None) -> None:
    page = text(seen_by(made.contributor), f"/{made.private.adapter.full_name}")
    assert "The repository there must be private, as this is private here" in page
    repositories.show(adapter=made.private.adapter, private=False)
    assert "must be private" not in text(seen_by(made.contributor), f"/{made.private.adapter.full_name}")


def test_a_part_that_is_fetched_again_says_when_it_has_ended(made: Content) -> None:
    ada = seen_by(made.contributor)
    done = Export.objects.get(status="done")

    moving, ended = (
        ada.get(f"/exports/{number}", headers=BY_SCRIPT).content.decode()
        for number in (made.export.pk, done.pk)
    )

    assert "<html" not in moving + ended
    assert "data-settled" not in moving
    assert "data-settled" in ended


def test_an_export_that_is_opened_by_hand_is_a_page_with_what_it_is_of(made: Content) -> None:
    ada, release = seen_by(made.contributor), made.ready
    done = Export.objects.get(status="done")

    moving, ended = (text(ada, f"/exports/{number}") for number in (made.export.pk, done.pk))
    other = text(seen_by(made.maintainer), f"/exports/{Export.objects.get(checkpoint=made.checkpoint).pk}")

    assert "<h1>Export to another hub</h1>" in moving
    assert f'data-live="/exports/{made.export.pk}"' in moving
    assert "data-live" not in ended
    assert f'href="/{release.adapter.full_name}/releases/{release.oid}"' in ended
    assert f'href="/checkpoints/{made.checkpoint.pk}"' in other
