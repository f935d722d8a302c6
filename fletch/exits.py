"""How a command ends: exit codes that scripts can branch on, and the one error that carries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

MEANINGS: dict[str, str] = {
    "DONE": "done; of a check or a release: nothing is wrong with it",
    "NO": "the answer is no: errors were found, or the release was rejected, withdrawn or held back",
    "USAGE": "the command is not written as it should be",
    "NOT_ALLOWED": "not signed in, or not allowed",
    "NOT_FOUND": "there is no such thing, or it is not yours to see",
    "UNREACHABLE": "the hub cannot be reached or failed; trying again may help",
    "REFUSED": "the hub refused what was asked, and says why",
    "UNFINISHED": "not finished in the time that was given",
    "NEEDS_COMPUTE": "this computes, and what it computes with is not installed",
    "DAMAGED": "bytes are not those that their digest promises",
}


class Exit(IntEnum):
    """The exit codes, each with its meaning in MEANINGS; a shell adds 130 for what Ctrl-C ended."""

    DONE = 0
    NO = 1
    USAGE = 2
    NOT_ALLOWED = 3
    NOT_FOUND = 4
    UNREACHABLE = 5
    REFUSED = 6
    UNFINISHED = 7
    NEEDS_COMPUTE = 8
    DAMAGED = 9


class CommandError(Exception):
    """A command cannot do what was asked: what was found, what would be right, and how it ends."""

    def __init__(self, end: Exit, detail: str, findings: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(detail)
        self.end = end
        self.detail = detail
        self.findings = list(findings)

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it, in the shape of the hub's own refusals."""
        return {"error": self.end.name.lower(), "detail": self.detail, "findings": self.findings}
