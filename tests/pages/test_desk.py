"""The maintainer's desk: decisions are made there, told, and on record."""

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import cache

from hub.accounts.models import User
from hub.adapters.models import Gates, Release, ReleaseEvent
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.library.models import Library
from hub.notifications import queries as notifications
from hub.reports import services as reports
from tests.hub import making
from tests.pages.conftest import seen_by

pytestmark = pytest.mark.django_db


@pytest.fixture
def cleo(db: None) -> User:
    return making.user("cleo")


@pytest.fixture
def library(cleo: User) -> Library:
    return making.library(maintainer=cleo)


def test_each_release_of_a_library_that_reviews_waits_until_it_is_let_in(
    library: Library, cleo: User
) -> None:
    desk, ada = seen_by(cleo), making.user("ada")
    desk.post("/desk/libraries/tiny", {"review": "yes"})

    release = making.ready(ada, library)
    waiting = desk.get("/desk").content.decode()
    desk.post(f"/desk/releases/{release.pk}", {"decision": "let-in", "reason": "looks fine"})
    release.refresh_from_db()

    assert f"held-{release.pk}" in waiting
    assert release.quarantined_at is None
    said = release.events.get(what=ReleaseEvent.What.RESTORED)
    assert (said.by, said.reason) == (cleo, "looks fine")
    titles = [one.title for one in notifications.shown(cleo)]
    assert titles == ["Release 1 of ada/poetry waits for a maintainer"]


def test_a_private_release_waits_for_nobody(library: Library, cleo: User) -> None:
    seen_by(cleo).post("/desk/libraries/tiny", {"review": "yes"})
    library.refresh_from_db()
    release = making.upload(making.user("ada"), library, private=True)

    making.accept(release)

    assert Release.objects.get(pk=release.pk).quarantined_at is None


@pytest.mark.parametrize(
    ("decision", "reason", "standing"),
    [("let-in", "", "admitted"), ("refuse", "far too loud", "refused"), ("refuse", " ", "held")],
)
def test_gates_that_wait_are_let_in_or_refused_for_a_reason(
    library: Library, cleo: User, decision: str, reason: str, standing: str
) -> None:
    gates = making.gate(making.ready(making.user("ada"), library), held=True)

    seen_by(cleo).post(f"/desk/gates/{gates.pk}", {"decision": decision, "reason": reason})

    assert Gates.objects.get(pk=gates.pk).standing == standing


def test_resolving_a_report_can_put_the_newest_release_into_quarantine(library: Library, cleo: User) -> None:
    release = making.ready(making.user("ada"), library)
    report = reports.report(adapter=release.adapter, by=making.user("eve"), reason="harm", text="It does")

    seen_by(cleo).post(f"/desk/reports/{report.pk}", {"note": "True, it does", "quarantine": "on"})

    release.refresh_from_db()
    report.refresh_from_db()
    assert (release.reason, report.note, report.resolved_by) == ("True, it does", "True, it does", cleo)
    assert release.quarantined_at is not None


def test_staff_sees_who_keeps_how_much_and_gives_them_more(library: Library) -> None:
    cache.clear()
    ada, sue = making.user("ada"), making.user("sue", is_staff=True)
    making.upload(ada, library)
    making.upload(ada, library, "prose", {**making.PLAIN, "notes.md": b"n" * 500})
    desk = seen_by(sue)

    page = desk.get("/desk/people?q=AD").content.decode()
    desk.post("/desk/people/ada", {"gib": "0.5"})
    ada.refresh_from_db()

    assert f"{sum(map(len, making.PLAIN.values())) + 500} bytes of 100.0 GiB" in page
    assert "/desk/people/cleo" not in page
    assert ada.quota_bytes == 2**29
    assert "536,870,912" in LogEntry.objects.get(object_id=str(ada.pk)).get_change_message()
    desk.post("/desk/people/ada", {"gib": ""})
    ada.refresh_from_db()
    assert ada.quota_bytes is None


def test_a_job_that_failed_is_seen_with_its_reason_and_tried_again(library: Library) -> None:
    making.upload(making.user("ada"), library)
    claim = making.take(JobKind.VALIDATE)
    jobs.fail(claim, "<b>the disk</b> broke")
    desk = seen_by(making.user("sue", is_staff=True))

    page = desk.get("/desk/jobs?state=failed").content.decode()
    desk.post(f"/desk/jobs/{claim.job_id}/retry")

    assert "&lt;b&gt;the disk&lt;/b&gt; broke" in page
    assert "ada/poetry #1" in page
    assert Job.objects.get(pk=claim.job_id).state == Job.State.QUEUED


def test_somebody_reports_an_adapter_from_a_form(library: Library) -> None:
    making.ready(making.user("ada"), library)
    eve = seen_by(making.user("eve"))

    empty = eve.post("/ada/poetry/report", {"reason": "harm", "text": ""})
    sent = eve.post("/ada/poetry/report", {"reason": "harm", "text": "It swears"})
    again = eve.post("/ada/poetry/report", {"reason": "harm", "text": "It swears"})

    assert "This field is required" in empty.content.decode()
    assert sent.status_code == 302
    assert again.status_code == 409
    assert "is open; a maintainer reads it" in again.content.decode()
