"""Telling people, in the transaction that makes it true; and what they do with what they were told."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from django.db import transaction
from django.db.models.functions import Now

from hub.accounts.models import User
from hub.jobs import claims
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import JobKind
from hub.notifications import queries
from hub.notifications.models import Kind, Notification, Preference
from hub.notifications.queries import BOTH, Ways

MAIL_AFTER = timedelta(minutes=1)  # what happens meanwhile comes in the same letter
FORGOTTEN_AFTER = timedelta(minutes=10)
KEPT = timedelta(days=90)
AT_ONCE = 1000


@dataclass(frozen=True)
class News:
    """What is to be told, and where on this hub it leads."""

    kind: Kind
    title: str
    path: str
    text: str = ""


@transaction.atomic
def tell(people: Iterable[User], news: News) -> None:
    """Tell each of them in the ways that they want, and ask for a letter to those who want one.

    Called inside the transaction that makes it true. The letter is asked for when that has ended: jobs of
    several people, locked by several such transactions in whatever order, would wait for each other.
    """
    active = {person.pk: person for person in people if person.is_active}
    told = [active[number] for number in sorted(active)]
    wishes = queries.ways_of(told, news.kind)
    reachable = queries.confirmed_addresses(told)
    rows = [
        row
        for person in told
        if (row := _row(person, news, wishes.get(person.pk, BOTH), reachable=person.pk in reachable))
    ]
    Notification.objects.bulk_create(rows)
    to_write = [row.user_id for row in rows if row.by_email]
    if to_write:
        transaction.on_commit(partial(ask_for_letters, to_write), robust=True)


def ask_for_letters(people: Iterable[int]) -> None:
    """A letter to each of these, in a minute; one that is on its way says this too."""
    for number in people:
        jobs.enqueue(JobKind.MAIL, wait=MAIL_AFTER, user_id=number)


def ask_for_forgotten_letters() -> int:
    """Where the process died just after its transaction nobody asked for the letter; how many that were."""
    forgotten = queries.without_a_letter(older_than=FORGOTTEN_AFTER)
    ask_for_letters(forgotten)
    return len(forgotten)


def _row(person: User, news: News, ways: Ways, *, reachable: bool) -> Notification | None:
    by_email = ways.by_email and reachable
    if not (ways.in_page or by_email):
        return None
    return Notification(
        user=person,
        kind=news.kind,
        title=_cut(news.title, 250),
        text=_cut(news.text, 1000),
        path=news.path,
        in_page=ways.in_page,
        by_email=by_email,
    )


def _cut(text: str, longest: int) -> str:
    """One line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def mark_read(user: User, number: int) -> Notification | None:
    """This person has seen it. None where it is not theirs, or forgotten by now."""
    found = Notification.objects.filter(pk=number, user=user, in_page=True).first()
    if found is not None and found.read_at is None:
        Notification.objects.filter(pk=found.pk).update(read_at=Now())
    return found


def mark_all_read(user: User, *, up_to: int) -> int:
    """Everything that this person could see on a page whose newest was `up_to`; how many that were."""
    return queries.unread(user).filter(pk__lte=up_to).update(read_at=Now())


@transaction.atomic
def choose(user: User, wishes: Mapping[Kind, Ways]) -> None:
    """How this person wants to be told from now on."""
    for kind, ways in wishes.items():
        Preference.objects.update_or_create(
            user=user, kind=kind, defaults={"in_page": ways.in_page, "by_email": ways.by_email}
        )


@transaction.atomic
def record_sent(claim: Claim, numbers: Iterable[int]) -> None:
    """A letter with these went out. Raises Fenced."""
    claims.hold(claim)
    Notification.objects.filter(pk__in=list(numbers), sent_at=None).update(sent_at=Now())


def forget_old() -> int:
    """Remove what is older than three months, some at a time; how many."""
    old = Notification.objects.filter(created_at__lt=jobs.from_now(-KEPT)).order_by("pk")
    gone, _ = Notification.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:AT_ONCE])).delete()
    return gone
