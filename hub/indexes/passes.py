"""Passes: who may ask the serving processes, and how much, for some minutes.

A serving process that is reached by strangers answers who brings a pass. It is signed as guest lists are, so
serving needs no secret of the hub and does not ask it (docs/decisions/0029-caller-passes.md).
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from hub import signing
from hub.accounts.models import User
from hub.indexes import guests
from hub.library.models import Library

FORMAT = 1
LIFETIME = timedelta(minutes=10)
VISITORS = "(visitors)"  # no account can be called so


@dataclass(frozen=True)
class Pass:
    """What a serving process believes, until when, and what it says: no limit where there is None."""

    token: str
    expires_at: datetime
    libraries: tuple[str, ...] | None
    answers: int | None
    tokens_per_minute: int | None


def issue(*, user: User, library: Library, everywhere: bool = False) -> Pass:
    """A pass for this person, good for one library or for all that this hub has.

    Raises Conflict while the serving processes cannot know this hub's key yet.
    """
    return _signed(user.username, library, None if everywhere else (library.slug,))


def for_visitors(library: Library) -> Pass:
    """A pass for whoever asks through the hub without an account: all of them share one person's limits.

    Raises Conflict as `issue` does.
    """
    return _signed(VISITORS, library, (library.slug,))


def _signed(caller: str, library: Library, libraries: tuple[str, ...] | None) -> Pass:
    guests.require_known_key(library)
    expires_at = timezone.now() + LIFETIME
    answers, tokens = settings.SERVING_ANSWERS_AT_ONCE or None, settings.SERVING_TOKENS_PER_MINUTE or None
    statement = {
        "format": FORMAT,
        "kind": "pass",
        "caller": caller,
        "libraries": libraries,
        "expires": int(expires_at.timestamp()),
        "answers": answers,
        "tokens_per_minute": tokens,
    }
    content = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Pass(signing.signed(content.encode()), expires_at, libraries, answers, tokens)
