"""Who is told what happens in a bounded memory."""

from __future__ import annotations

from typing import Protocol


class Witness(Protocol):
    """Who is told what happens, by the name of the owner for whom it does."""

    def asked(self, owner: str, there: int, missing: int) -> None:
        """So many members were asked for that were in memory, and so many that were not."""

    def made(self, owner: str, seconds: float) -> None:
        """A member was made."""

    def put_out(self, owner: str) -> None:
        """A member had to make room."""
