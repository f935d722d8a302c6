"""Adapters in the order in which they are near to what somebody typed, or why that cannot be said."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from hub.jobs.models import Job
from hub.search import meanings

log = logging.getLogger(__name__)
NOT_HERE = "This hub does not search by meaning."
PREPARED = "The search by meaning is still being prepared by a worker."
FAILED = (
    "The search by meaning could not be prepared; whoever runs this hub finds the reason among its failed "
    "jobs."
)
UNREADABLE = "The search by meaning does not answer just now."
NO_WORD = "The search by meaning knows none of these words."
BY_WORDS = "These are found by their words."


@dataclass(frozen=True)
class Nearest:
    """Primary keys of adapters, the nearest first; None, and why, where words must do."""

    pks: Sequence[int] | None
    note: str = ""


def nearest(text: str) -> Nearest:
    """All adapters whose cards were read, by cosine to a text. Whom one may know of is not looked at."""
    if meanings.wanted() is None:
        return _by_words(NOT_HERE)
    table = meanings.current()
    if table is None:
        last = meanings.last_job()
        failed = last is not None and last.state == Job.State.FAILED
        return _by_words(FAILED if failed else PREPARED)
    from hub.search import nearness  # noqa: PLC0415  numpy and tokenizers, only where somebody wants them

    try:
        pks = nearness.nearest(table, text)
    except Exception:  # whatever is wrong with table or storage, words still find adapters
        log.exception("%s cannot be read", table)
        return _by_words(UNREADABLE)
    return _by_words(NO_WORD) if pks is None else Nearest(pks)


def unread(count: int) -> str:
    """What to say where cards of so many are not read."""
    if not count:
        return ""
    who, they = ("1 adapter is", "it comes") if count == 1 else (f"{count:,} adapters are", "they come")
    return f"{who} not read for meaning yet; {they} last, unless the words are theirs."


def _by_words(why: str) -> Nearest:
    return Nearest(None, f"{why} {BY_WORDS}")
