"""Asking for somebody: with their pass, their private experts and a place, as an answer that is read once."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from django.conf import settings

from hub.accounts.models import User
from hub.errors import NotAllowed, NotSignedIn
from hub.indexes import guests, passes
from hub.library.models import Library
from hub.library.permissions import Visitor
from hub.playground import events, places, serving
from hub.playground.questions import Asked

PASS, GUESTS = "X-Fletch-Pass", "X-Fletch-Private"


class Answering:
    """The events of one answer. It holds a place and a connection until it is closed, read or not."""

    def __init__(self, lines: Iterator[str], held: ExitStack) -> None:
        self._events = events.read(lines)
        self._held = held

    def __iter__(self) -> Iterator[events.Event]:
        return self._events

    def close(self) -> None:
        self._held.close()


def may_ask(visitor: Visitor) -> bool:
    """Whether the playground is this visitor's to use."""
    allowed: str = settings.PLAYGROUND
    return allowed == "everybody" or (allowed == "people" and visitor.is_authenticated)


def require_ask(visitor: Visitor) -> None:
    """Raises NotAllowed, NotSignedIn."""
    if settings.PLAYGROUND == "off":
        raise NotAllowed("The operator of this hub has turned the playground off.")
    if not may_ask(visitor):
        raise NotSignedIn("Sign in to ask.")


def begin(
    asked: Asked, *, library: Library, visitor: Visitor, address: str, private: bool = False
) -> Answering:
    """Ask. Raises what is refused before the first word: NotSignedIn, TooBusy, Invalid, NotFound, Conflict,
    NotServed.
    """
    require_ask(visitor)
    person = visitor if isinstance(visitor, User) else None
    caller = person.username if person else f"visitor {address}"
    headers = _headers(library, person, private=private and asked.way.who != "base")
    body = {**asked.traced(), "user": caller}
    with ExitStack() as held:
        held.enter_context(places.place(caller))
        lines = held.enter_context(serving.answered(asked.question.path, body, headers))
        return Answering(lines, held.pop_all())


@contextmanager
def once(
    path: str, body: Mapping[str, Any], *, library: Library, visitor: Visitor, address: str
) -> Iterator[Iterator[str]]:
    """The lines of an answer to a request of one's own, while the block lasts. Raises as `begin` does."""
    require_ask(visitor)
    person = visitor if isinstance(visitor, User) else None
    caller = person.username if person else f"visitor {address}"
    headers = _headers(library, person, private=False)
    with places.place(caller), serving.answered(path, {**body, "user": caller}, headers) as lines:
        yield lines


def _headers(library: Library, person: User | None, *, private: bool) -> dict[str, str]:
    """What lets a serving process answer them, and with whom."""
    headers = {}
    if settings.SERVING_CALLERS == "passes":
        issued = passes.issue(user=person, library=library) if person else passes.for_visitors(library)
        headers[PASS] = issued.token
    if private and person:
        token = guests.guest_list(user=person, library=library).token
        headers |= {GUESTS: token} if token else {}
    return headers
