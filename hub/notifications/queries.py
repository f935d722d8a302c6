"""What a person was told, what is still to be sent to them, and how they want it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from allauth.account.models import EmailAddress
from django.db.models import Min, QuerySet

from hub.accounts.models import User
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.notifications.models import Kind, Notification, Preference

COUNTED = 99  # a bell need not say more


@dataclass(frozen=True)
class Ways:
    """In which ways somebody wants to be told."""

    in_page: bool
    by_email: bool


BOTH = Ways(in_page=True, by_email=True)


def shown(user: User) -> QuerySet[Notification]:
    """What this person finds on the page, newest first."""
    return Notification.objects.filter(user=user, in_page=True)


def unread(user: User) -> QuerySet[Notification]:
    return shown(user).filter(read_at=None)


def unread_count(user: User) -> int:
    """How many, up to one more than a bell counts."""
    return unread(user).order_by()[: COUNTED + 1].count()


def to_send(user_id: int) -> QuerySet[Notification]:
    """What the next letter to this person says, oldest first."""
    return Notification.objects.filter(user=user_id, by_email=True, sent_at=None).order_by("pk")


def without_a_letter(*, older_than: timedelta) -> list[int]:
    """Who was to be written to for so long, and no job for it was ever asked for."""
    waiting = Notification.objects.filter(
        by_email=True, sent_at=None, created_at__lt=jobs.from_now(-older_than)
    )
    first = waiting.order_by().values("user").annotate(since=Min("created_at"))
    asked = {
        user: Job.objects.filter(key=jobs.key_of(JobKind.MAIL, {"user_id": user}), created_at__gte=since)
        for user, since in first.values_list("user", "since")
    }
    return [user for user, found in asked.items() if not found.exists()]


def preferences(user: User) -> dict[Kind, Ways]:
    """Every kind, and how this person wants to be told about it."""
    said = {one.kind: Ways(one.in_page, one.by_email) for one in Preference.objects.filter(user=user)}
    return {kind: said.get(kind, BOTH) for kind in Kind}


def ways_of(people: Sequence[User], kind: Kind) -> dict[int, Ways]:
    """Of those who ever said anything about this kind."""
    said = Preference.objects.filter(user__in=people, kind=kind)
    return {one.user_id: Ways(one.in_page, one.by_email) for one in said}


def confirmed_addresses(people: Sequence[User]) -> dict[int, str]:
    """Where letters may go: to an address only that its owner confirmed, or strangers would be written to."""
    known = EmailAddress.objects.filter(user__in=people, verified=True).order_by("primary", "pk")
    return dict(known.values_list("user_id", "email"))
