"""One violation of one check, said so that its author can fix it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning"]

LONGEST_TEXT = 300


def printable(text: object) -> str:
    """A stranger's text made harmless: control and invisible characters escaped, length bounded.

    Findings are printed on terminals, in logs and on pages, and quote what was uploaded.
    """
    shown = str(text)[: LONGEST_TEXT + 1]
    escaped = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in shown
    )
    return escaped if len(escaped) <= LONGEST_TEXT else escaped[: LONGEST_TEXT - 1] + "…"


@dataclass(frozen=True)
class Finding:
    """`found` at `field` of `file` where `expected` would be right; `fix` is what to do about it."""

    check: str
    severity: Severity
    file: str
    field: str
    found: str
    expected: str
    fix: str

    def __post_init__(self) -> None:
        for name in ("file", "field", "found", "expected", "fix"):
            object.__setattr__(self, name, printable(getattr(self, name)))

    def __str__(self) -> str:
        place = f"{self.file}: {self.field}" if self.field else self.file
        return f"{self.severity}: {place}: found {self.found}; expected {self.expected}. {self.fix}".rstrip()

    def to_json(self) -> dict[str, str]:
        """The finding as plain JSON, as it is stored and shown."""
        return asdict(self)
