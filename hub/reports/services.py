"""Reporting an adapter, and resolving a report."""

from django.db import transaction
from django.db.models.functions import Now

from hub.accounts.models import User
from hub.adapters import permissions
from hub.adapters.models import Adapter
from hub.errors import Conflict, Invalid
from hub.notifications.models import Kind
from hub.notifications.services import News, tell
from hub.reports.models import Report

MOST_OPEN = 10  # of one person: who reports everything is not helped by reporting more
LONGEST = 2000


class TooManyReports(Conflict):
    """Ten reports of yours are open. Wait until a maintainer has answered some of them."""

    code = "too_many_reports"


@transaction.atomic
def report(*, adapter: Adapter, by: User, reason: str, text: str) -> Report:
    """Say that an adapter should not be here; who maintains its library is told. Raises Invalid, Conflict."""
    if reason not in Report.Reason.values:
        raise Invalid(f"reason is {reason!r}; expected one of {', '.join(Report.Reason.values)}")
    said = text.strip()[:LONGEST]
    if not said:
        raise Invalid("a report needs a few words: what is wrong, and how one can see it")
    User.objects.select_for_update(no_key=True).get(pk=by.pk)  # so that nobody has eleven at once
    mine = Report.objects.filter(by=by, resolved_at=None)
    if mine.filter(adapter=adapter).exists():
        raise Conflict(f"your report of {adapter.full_name} is open; a maintainer reads it")
    if mine.count() >= MOST_OPEN:
        raise TooManyReports
    made = Report.objects.create(adapter=adapter, by=by, reason=reason, text=said)
    title = f"{adapter.full_name} was reported"
    news = News(Kind.REVIEW, title, "/desk/reports", f"{made.get_reason_display()}. “{said}”")
    tell(permissions.maintainers(adapter), news)
    return made


@transaction.atomic
def resolve(*, found: Report, by: User, note: str) -> None:
    """A maintainer has dealt with it; who reported is told how. Raises Invalid, Conflict."""
    said = note.strip()[:LONGEST]
    if not said:
        raise Invalid("a note is needed: who reported reads what was done, and why")
    still_open = Report.objects.filter(pk=found.pk, resolved_at=None)
    if not still_open.update(resolved_at=Now(), resolved_by=by, note=said):
        raise Conflict("somebody resolved this report already; look at it again")
    if found.by is not None:
        adapter = found.adapter
        title = f"Your report of {adapter.full_name} was resolved"
        tell([found.by], News(Kind.ANSWERED, title, f"/{adapter.full_name}", said))
