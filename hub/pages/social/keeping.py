"""Social cards are drawn once, a few at a time, and kept for a day: a picture costs more than a page."""

from threading import BoundedSemaphore

from django.core.cache import cache

from hub.errors import TooBusy
from hub.pages.social.faces import Face

A_DAY = 86_400
AT_ONCE = 2  # of the threads of a web process, however many cards are asked for
PATIENCE = 5.0  # seconds for one of them; a card takes a tenth of a second

_pens = BoundedSemaphore(AT_ONCE)


def picture(face: Face) -> bytes:
    """The card as a PNG. Raises TooBusy where many others are asked for at the same time."""
    key = f"social-{face.digest}"
    kept = cache.get(key)
    if isinstance(kept, bytes):
        return kept
    if not _pens.acquire(timeout=PATIENCE):
        raise TooBusy("Many cards are being drawn at the moment. Try again in a few seconds.")
    try:
        drawn = _drawn(face)
    finally:
        _pens.release()
    cache.set(key, drawn, A_DAY)
    return drawn


def _drawn(face: Face) -> bytes:
    from hub.pages.social import drawing  # noqa: PLC0415  what draws is loaded by the first card, not by every page

    return drawing.png(face)
