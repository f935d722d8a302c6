"""Tokens: made once, shown once, checked by their digest, revoked at once."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models.functions import Now
from django.utils import timezone

from hub.accounts.models import ApiToken, Scope, User
from hub.errors import Invalid, NotFound, NotSignedIn

PREFIX = "hf_"  # unmodified Hugging Face clients refuse any other
SHOWN = 8
USE_IS_NOTED_EVERY = timedelta(minutes=1)


def issue_token(
    *, user: User, name: str, scopes: Iterable[str], expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """A new token and its secret, which is not kept. Raises Invalid."""
    if user.is_organisation:
        raise Invalid(f"{user.username} is an organisation; its people use tokens of their own")
    wanted = sorted(set(scopes))
    unknown = set(wanted) - set(Scope.values)
    if unknown or not wanted:
        raise Invalid(f"scopes are {wanted}; expected some of {', '.join(Scope.values)}")
    if not name.strip():
        raise Invalid("a token needs a name, so that you know later which program has it")
    secret = PREFIX + secrets.token_hex(32)
    token = ApiToken.objects.create(
        user=user,
        name=name.strip()[:80],
        prefix=secret[:SHOWN],
        digest=digest(secret),
        scopes=wanted,
        expires_at=expires_at,
    )
    return token, secret


def revoke_token(*, user: User, token_id: int) -> None:
    """From the next request on the token is worthless. Raises NotFound."""
    mine = ApiToken.objects.filter(pk=token_id, user=user)
    if not mine.exists():
        raise NotFound("you have no such token")
    mine.filter(revoked_at=None).update(revoked_at=Now())


def change_quota(*, user: User, quota_bytes: int | None, by: User) -> None:
    """What this person may keep, with None what everybody may; the admin's history of them says so."""
    User.objects.filter(pk=user.pk).update(quota_bytes=quota_bytes)
    said = "what everybody may" if quota_bytes is None else f"{quota_bytes:,} bytes"
    LogEntry.objects.log_actions(
        by.pk, [user], CHANGE, change_message=f"May keep {said}.", single_object=True
    )


def authenticate(secret: str) -> ApiToken:
    """The live token with this secret, of an active user. Raises NotSignedIn."""
    token = ApiToken.objects.select_related("user").filter(digest=digest(secret)).first()
    now = timezone.now()
    if token is None or token.revoked_at is not None or not token.user.is_active:
        raise NotSignedIn("this API token is unknown or was revoked")
    if token.expires_at is not None and token.expires_at <= now:
        raise NotSignedIn("this API token has expired; make a new one under your account")
    if token.last_used_at is None or now - token.last_used_at > USE_IS_NOTED_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token


def digest(secret: str) -> str:
    """Tokens carry 256 random bits, so a plain digest is as good as a slow one."""
    return hashlib.sha256(secret.encode()).hexdigest()
