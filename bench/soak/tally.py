"""What came of everything that was asked: counts, and each answer that was not as promised."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

SAID_FAULTS = 50


class Fault(Exception):
    """Something that the process promised and did not do."""


@dataclass
class Tally:
    """Outcomes by kind of request. Faults are counted all, and the first fifty are kept in words."""

    outcomes: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)
    faults: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kind: str, outcome: str) -> None:
        """One more of this."""
        with self._lock:
            self.outcomes[f"{kind}: {outcome}"] += 1

    def add(self, what: str, amount: int) -> None:
        """So many more of this."""
        with self._lock:
            self.outcomes[what] += amount

    def fault(self, kind: str, reason: str) -> None:
        """One answer that was not as promised."""
        with self._lock:
            self.faults += 1
            self.outcomes[f"{kind}: FAULT"] += 1
            if len(self.said) < SAID_FAULTS:
                self.said.append(f"{kind}: {reason}")

    @property
    def requests(self) -> int:
        """How many requests have ended, whichever way."""
        return sum(count for name, count in self.outcomes.items() if ": " in name)
