"""Places for answers under way: each holds a thread of the web process for as long as it takes."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from hub import threads
from hub.errors import TooBusy

MOST = 8  # of the threads that are lent to long answers
MOST_EACH = 2  # of one person, or of one address: the two columns of a comparison

_taken: Counter[str] = Counter()
_lock = Lock()


@contextmanager
def place(caller: str) -> Iterator[None]:
    """A place while the block lasts. Raises TooBusy at once where there is none."""
    _take(caller)
    try:
        yield
    finally:
        with _lock:
            _taken[caller] -= 1
            if not _taken[caller]:
                del _taken[caller]
        threads.LENT.release()


def _take(caller: str) -> None:
    with _lock:
        if _taken[caller] >= MOST_EACH:
            raise TooBusy(f"{MOST_EACH} of your answers are still being written; wait for one, or stop it.")
        if _taken.total() >= MOST or not threads.LENT.acquire(blocking=False):
            raise TooBusy("Many people ask at the moment. Try again in a few seconds.")
        _taken[caller] += 1
