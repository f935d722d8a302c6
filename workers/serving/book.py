"""What is written down to be reported to the hub: whom answers by each index version chose, in counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

from routing.pack import Pack
from routing.uses import Counts, Uses

FORMAT = 1
MOST_NUMBERS = 250_000  # in one report: about a megabyte of JSON


@dataclass(frozen=True)
class Page:
    """Of which version something is counted."""

    library: str
    number: int
    manifest: str


class Book:
    """The counts of every version that this process answers by. Safe to use from threads.

    Versions hold their counts. The book holds them too while there is something in them that was not taken,
    so that nothing is lost of a version that is let go of; of one that answers nobody it forgets them.
    """

    def __init__(self) -> None:
        self._uses: WeakValueDictionary[Page, Uses] = WeakValueDictionary()
        self._busy: dict[Page, Uses] = {}
        self._lock = threading.Lock()

    def uses(self, page: Page, pack: Pack) -> Uses:
        """Where answers by this version are counted; the same place if it is read again."""
        with self._lock:
            found = self._uses.get(page)
            if found is None:
                found = self._uses[page] = self._busy[page] = Uses(pack.experts, tuple(pack.modules))
            return found

    def taken(self) -> Iterator[dict[str, Any]]:
        """What was counted since this was asked last, a document for each version that answered."""
        with self._lock:
            pages = sorted(self._uses.items(), key=lambda item: (item[0].library, item[0].number))
        for page, uses in pages:
            counts = uses.taken()
            with self._lock:
                if counts is None:
                    self._busy.pop(page, None)
                else:
                    self._busy[page] = uses
            if counts is not None:
                yield _document(page, counts)


def _document(page: Page, counts: Counts) -> dict[str, Any]:
    """In the form that the hub reads (`hub.uses.schemas`). Nothing in it is about an answer or a caller.

    Of very many experts the most chosen are named; `tokens` are those of all.
    """
    totals = counts.hits.sum(0)
    most = max(1, MOST_NUMBERS // max(1, len(counts.modules)))
    named = [int(column) for column in totals.argsort(descending=True)[:most] if totals[column]]
    return {
        "format": FORMAT,
        "day": datetime.now(UTC).date().isoformat(),
        "library": page.library,
        "version": page.number,
        "manifest": page.manifest,
        "modules": list(counts.modules),
        "tokens": counts.tokens.tolist(),
        "hits": {counts.experts[column]: counts.hits[:, column].tolist() for column in sorted(named)},
    }


def as_bytes(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
