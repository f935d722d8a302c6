"""What stands in a letter: one notification, or all of the last minute, as plain text."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

from django.conf import settings
from django.core.mail import EmailMessage

from hub.accounts.models import User
from hub.notifications import queries
from hub.notifications.models import Notification

WIDTH = 76
MOST = 40  # in one letter; all of them are on the page


@dataclass(frozen=True)
class Letter:
    """A message, and the notifications that are told by it."""

    message: EmailMessage
    numbers: Sequence[int]


def next_letter(user_id: int) -> Letter | None:
    """What is to be sent to this person now. None where there is nothing, or nowhere to send it."""
    news = list(queries.to_send(user_id))
    person = User.objects.filter(pk=user_id, is_active=True).first()
    address = queries.confirmed_addresses([person]).get(user_id) if person else None
    if not news or address is None or person is None:
        return None
    message = EmailMessage(
        subject=_subject(news),
        body=_body(person, news),
        to=[address],
        headers={"Auto-Submitted": "auto-generated"},
    )
    return Letter(message, [one.pk for one in news])


def _subject(news: Sequence[Notification]) -> str:
    return news[0].title if len(news) == 1 else f"{len(news)} notifications: {news[0].title}, and more"


def _body(person: User, news: Sequence[Notification]) -> str:
    parts = [f"Hello {person.username},", *(_told(one) for one in news[:MOST])]
    if len(news) > MOST:
        parts.append(f"And {len(news) - MOST} more: {_at('/notifications')}")
    why = f"-- \nYou choose what is sent to you: {_at('/settings/notifications')}"
    return "\n\n".join([*parts, why]) + "\n"


def _told(one: Notification) -> str:
    lines = [one.title, one.text]
    wrapped = [fill(line, WIDTH, break_long_words=False, break_on_hyphens=False) for line in lines if line]
    return "\n".join([*wrapped, _at(one.path)])


def _at(path: str) -> str:
    """No request says where the hub is, so the operator does; where nobody did, it is the path alone."""
    return settings.PUBLIC_URL + path
