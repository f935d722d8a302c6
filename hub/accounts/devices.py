"""Signing a program in by a code, without giving it a password (RFC 8628).

The program shows a code, its owner types that code here, and the program, which has been asking meanwhile,
gets a token of its own.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.crypto import salted_hmac

from hub.accounts import services
from hub.accounts.models import ApiToken, DeviceLogin, User
from hub.errors import HubError, NotFound

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels: no words; nothing that looks like a digit
CODE_LENGTH = 8
DIGITS = 32
LIFE = timedelta(minutes=10)
INTERVAL = 5  # seconds between two questions of one program
TOKEN_LIFE = timedelta(days=90)
MOST_WAITING = 1_000  # anybody may ask, so the table is bounded
MOST_OF_ONE_ADDRESS = 20  # and nobody fills it alone


class NotYet(HubError):
    """The program gets no token. `code` is RFC 8628's word for why."""


class Pending(NotYet):
    """Nobody has decided yet."""

    code = "authorization_pending"


class SlowDown(NotYet):
    """The program asks more often than it was told to."""

    code = "slow_down"


class Denied(NotYet):
    """The person said no."""

    code = "access_denied"


class Expired(NotYet):
    """This code is unknown, was used, or is older than ten minutes. Sign in again."""

    code = "expired_token"


class TooManyWaiting(NotYet):
    """Too many programs wait to be let in. Try again in ten minutes, or use a token from your settings."""

    code = "temporarily_unavailable"


@dataclass(frozen=True)
class Invitation:
    """What the program keeps for itself, and what it shows."""

    device_code: str
    user_code: str


def ask(program: str, *, address: str) -> Invitation:
    """A program begins to wait. Raises TooManyWaiting."""
    now = timezone.now()
    DeviceLogin.objects.filter(expires_at__lt=now - LIFE).delete()  # a while longer, to say that it expired
    origin = salted_hmac("hub.accounts.devices", address, algorithm="sha256").hexdigest()[:DIGITS]
    open_ones = _open(now)
    if open_ones.count() >= MOST_WAITING or open_ones.filter(origin=origin).count() >= MOST_OF_ONE_ADDRESS:
        raise TooManyWaiting
    secret = secrets.token_urlsafe(32)
    shown = "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH))
    DeviceLogin.objects.create(
        digest=services.digest(secret),
        user_code=shown,
        program=program[:200],
        expires_at=now + LIFE,
        origin=origin,
    )
    return Invitation(secret, spelled(shown))


def waiting(user_code: str) -> DeviceLogin:
    """The program that shows this code. Raises NotFound."""
    typed = "".join(letter for letter in user_code.upper() if letter in LETTERS)
    found = _open(timezone.now()).filter(user_code=typed).first()
    if found is None:
        raise NotFound("No program waits under this code. Codes live for ten minutes and are used once.")
    return found


def approve(*, user: User, user_code: str, scopes: Iterable[str]) -> DeviceLogin:
    """Let the program in, in this person's name. Raises NotFound."""
    return _decide(
        waiting(user_code), state=DeviceLogin.State.APPROVED, user=user, scopes=sorted(set(scopes))
    )


def deny(*, user: User, user_code: str) -> DeviceLogin:
    """Turn the program away. Raises NotFound."""
    return _decide(waiting(user_code), state=DeviceLogin.State.DENIED, user=user, scopes=[])


def take(device_code: str) -> tuple[ApiToken, str]:
    """The token for a program that was let in, once. Raises NotYet."""
    found = DeviceLogin.objects.filter(digest=services.digest(device_code)).first()
    now = timezone.now()
    if found is None or found.expires_at <= now or found.state == DeviceLogin.State.TAKEN:
        raise Expired
    if found.state == DeviceLogin.State.DENIED:
        raise Denied
    if found.state == DeviceLogin.State.WAITING:
        DeviceLogin.objects.filter(pk=found.pk).update(asked_at=now)
        soonest = timedelta(seconds=INTERVAL / 2)
        raise SlowDown if found.asked_at is not None and now - found.asked_at < soonest else Pending
    return _hand_out(found)


@transaction.atomic
def _hand_out(login: DeviceLogin) -> tuple[ApiToken, str]:
    """Raises Expired where another question of the same program was quicker."""
    approved = DeviceLogin.objects.filter(pk=login.pk, state=DeviceLogin.State.APPROVED)
    if not approved.update(state=DeviceLogin.State.TAKEN) or login.user is None:
        raise Expired
    now = timezone.now()
    return services.issue_token(
        user=login.user,
        name=f"{login.program[:50] or 'a program'}, signed in {now:%Y-%m-%d}",
        scopes=login.scopes,
        expires_at=now + TOKEN_LIFE,
    )


def spelled(user_code: str) -> str:
    """As people read it: in two halves."""
    half = CODE_LENGTH // 2
    return f"{user_code[:half]}-{user_code[half:]}"


def _open(now: datetime) -> QuerySet[DeviceLogin]:
    return DeviceLogin.objects.filter(state=DeviceLogin.State.WAITING, expires_at__gt=now)


def _decide(login: DeviceLogin, *, state: str, user: User, scopes: list[str]) -> DeviceLogin:
    still_open = DeviceLogin.objects.filter(pk=login.pk, state=DeviceLogin.State.WAITING)
    if not still_open.update(state=state, user=user, scopes=scopes):
        raise NotFound("This program was let in or turned away already.")
    login.refresh_from_db()
    return login
