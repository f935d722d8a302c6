"""Who is told what, in which ways: in the transaction that makes it true, and never to a stranger's address."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.db import transaction
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks as Committed

from hub.accounts.models import User
from hub.adapters import access
from hub.adapters import services as adapters
from hub.adapters.models import Adapter
from hub.jobs.models import Job, JobKind
from hub.library.models import Library
from hub.notifications import letters, queries, services
from hub.notifications.models import Kind, Notification
from hub.notifications.queries import Ways
from tests.hub import making

pytestmark = pytest.mark.django_db


@pytest.fixture
def committed(django_capture_on_commit_callbacks: Committed) -> Committed:
    """What is done when a transaction has ended, done when the block ends: tests end none."""
    return django_capture_on_commit_callbacks


@pytest.fixture
def library(db: None) -> Library:
    return making.library()


def told(user: User) -> list[str]:
    return list(queries.shown(user).order_by("pk").values_list("title", flat=True))


def confirm(user: User) -> None:
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)


def gated(owner: User, library: Library) -> Adapter:
    adapter = making.upload(owner, library).adapter
    access.gate(adapter=adapter, gating="manual")
    adapter.refresh_from_db()
    return adapter


def test_an_owner_is_told_what_becomes_of_a_release(ada: User, library: Library) -> None:
    good = making.ready(ada, library)
    bad = making.upload(ada, library, "prose")
    claim = making.take(JobKind.VALIDATE)
    adapters.record_report(claim, bad.pk, [{**making.DOUBT, "severity": "error"}, making.DOUBT])
    adapters.quarantine(release=good, by=making.user("cleo"), reason="copied")
    good.refresh_from_db()
    adapters.restore(release=good, by=None)

    assert told(ada) == [
        "Release 1 of ada/poetry is ready",
        "Release 1 of ada/prose was rejected",
        "Release 1 of ada/poetry is in quarantine",
        "Release 1 of ada/poetry is restored",
    ]
    texts = queries.shown(ada).values_list("text", flat=True)
    assert any("0.97 of neutral text, expected at most 0.30" in text for text in texts)
    assert any("Reason: copied" in text for text in texts)


def test_nobody_is_told_what_they_did_themselves(ada: User, library: Library) -> None:
    release = making.ready(ada, library)
    before = told(ada)

    adapters.quarantine(release=release, by=ada, reason="mine to hold back")

    assert told(ada) == before


def test_an_owner_is_told_who_asks_and_who_asked_is_told_the_answer(ada: User, library: Library) -> None:
    bob, adapter = making.user("bob"), gated(ada, library)

    for _ in range(2):
        access.ask(adapter=adapter, user=bob, message="for my thesis")
    access.decide(adapter=adapter, user=bob, state="rejected", reason="not yet")
    for _ in range(2):
        access.invite(adapter=adapter, user=bob)

    assert told(ada) == ["bob asks for ada/poetry"]
    assert told(bob) == ["You were turned away from ada/poetry", "You were let in to ada/poetry"]


def test_what_is_rolled_back_is_told_to_nobody(ada: User, library: Library) -> None:
    release = making.ready(ada, library)
    before = told(ada)

    with transaction.atomic():
        adapters.quarantine(release=release, by=None, reason="a mistake")
        transaction.set_rollback(True)

    assert told(ada) == before


@pytest.mark.parametrize(
    ("ways", "shown", "letters_due"),
    [
        (Ways(in_page=True, by_email=True), 1, 1),
        (Ways(in_page=False, by_email=True), 0, 1),
        (Ways(in_page=True, by_email=False), 1, 0),
        (Ways(in_page=False, by_email=False), 0, 0),
    ],
)
def test_people_are_told_in_the_ways_they_chose(
    ada: User, library: Library, ways: Ways, shown: int, letters_due: int, committed: Committed
) -> None:
    confirm(ada)
    services.choose(ada, {Kind.READY: ways})

    with committed(execute=True):
        making.ready(ada, library)

    assert queries.shown(ada).count() == shown
    assert queries.to_send(ada.pk).count() == letters_due
    assert Job.objects.filter(kind=JobKind.MAIL).count() == letters_due


def test_no_letter_goes_to_an_address_that_nobody_confirmed(
    ada: User, library: Library, committed: Committed
) -> None:
    EmailAddress.objects.create(user=ada, email=ada.email, verified=False, primary=True)

    with committed(execute=True):
        making.ready(ada, library)

    assert told(ada)
    assert not Job.objects.filter(kind=JobKind.MAIL).exists()


def test_what_happens_within_a_minute_comes_in_one_letter(
    ada: User, library: Library, committed: Committed
) -> None:
    confirm(ada)
    with committed(execute=True):
        for name in ("poetry", "prose", "plays"):
            making.ready(ada, library, name)

    letter = letters.next_letter(ada.pk)

    assert Job.objects.filter(kind=JobKind.MAIL).count() == 1
    assert letter is not None
    assert letter.message.to == ["ada@example.org"]
    assert letter.message.subject == "3 notifications: Release 1 of ada/poetry is ready, and more"
    assert letter.message.body.count("is ready") == 3


def test_a_letter_that_nobody_asked_for_is_asked_for_later_once(ada: User, library: Library) -> None:
    confirm(ada)
    making.ready(ada, library)  # and the process dies before its letter is asked for

    at_once = services.ask_for_forgotten_letters()
    Notification.objects.update(created_at=timezone.now() - timedelta(minutes=11))
    later = [services.ask_for_forgotten_letters() for _ in range(2)]

    assert (at_once, later) == (0, [1, 0])
    assert Job.objects.filter(kind=JobKind.MAIL).count() == 1


def test_a_letter_leads_to_the_hub_and_to_where_it_is_ordered_off(
    ada: User, library: Library, settings: object
) -> None:
    settings.PUBLIC_URL = "https://hub.example.org"  # type: ignore[attr-defined]
    confirm(ada)
    release = making.ready(ada, library)

    letter = letters.next_letter(ada.pk)

    assert letter is not None
    assert f"https://hub.example.org/ada/poetry/releases/{release.oid}" in letter.message.body
    assert "https://hub.example.org/settings/notifications" in letter.message.body


def test_one_reads_what_is_one_s_own_and_all_that_one_could_see(ada: User, library: Library) -> None:
    making.ready(ada, library)
    first = queries.shown(ada).get()
    eve = making.user("eve")

    assert services.mark_read(eve, first.pk) is None
    making.ready(ada, library, "prose")
    services.mark_all_read(ada, up_to=first.pk)

    assert [one.title for one in queries.unread(ada)] == ["Release 1 of ada/prose is ready"]


def test_old_notifications_are_forgotten(ada: User, library: Library) -> None:
    making.ready(ada, library)
    making.ready(ada, library, "prose")
    Notification.objects.filter(title__contains="poetry").update(
        created_at=timezone.now() - timedelta(days=91)
    )

    assert services.forget_old() == 1
    assert told(ada) == ["Release 1 of ada/prose is ready"]
