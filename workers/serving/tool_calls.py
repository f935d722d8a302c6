"""Tool calls in the text of an answer: found while it comes, and told apart from what is said besides.

Two ways of writing them are known: JSON between the marks of Hermes and Qwen, `<tool_call>{...}</tool_call>`,
and an answer that is nothing but JSON (Llama 3.1 and others; marks that are special tokens leave no text). A
call names a tool of the request and has an object of arguments, under `arguments` or `parameters`. A call
that is held to a schema has its name first, since that is where a grammar knows it by. Whatever is written
otherwise is text and goes through untouched.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

OPEN, CLOSE = "<tool_call>", "</tool_call>"
# How a call begins that is held to a schema, up to its name: expressions for Python and for llguidance.
BLANK = r"[ \t\r\n]{0,40}"
PARTS = (BLANK, r"\{", BLANK, '"', *"name", '"', BLANK, ":", BLANK, '"')
BEGUN = "".join(PARTS)
NAME = "[a-zA-Z0-9_.-]{0,64}"


def beginnings(parts: Sequence[str]) -> str:
    """Whatever begins what these parts say one after the other, nothing and all of it included."""
    expression = ""
    for part in reversed(parts):
        expression = f"(?:{part}{expression})?"
    return expression


@dataclass(frozen=True)
class Call:
    """One call of a tool; `arguments` is JSON."""

    place: int
    name: str
    arguments: str
    id: str = field(default_factory=lambda: f"call_{uuid.uuid4().hex[:24]}")

    def body(self) -> dict[str, Any]:
        """As OpenAI's API writes it."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


class CallReader:
    """Reads one answer. Text comes out as soon as it is certain that it belongs to no call.

    A `single` call is one behind which the answer was ended, so that it lacks the mark of its end. Those of
    `held` names count only as they begin where a grammar held them to a schema. Where an answer that is no
    call is JSON too, calls are `marked` ones alone.
    """

    def __init__(
        self,
        names: Collection[str],
        *,
        held: Collection[str] = (),
        single: bool = False,
        marked: bool = False,
    ) -> None:
        self._names = frozenset(names)
        self._held_names = frozenset(held)
        self._single = single
        self._held = ""
        self._bare = not marked  # whether the whole answer may be a call
        self.calls: list[Call] = []

    def push(self, text: str, *, last: bool) -> tuple[str, list[Call]]:
        """The text and the calls that are certain after some more of the answer, or after its end."""
        self._held += text
        known = len(self.calls)
        said = "".join([*self._marked(), self._end() if last else self._certain()])
        self._bare = self._bare and not said.strip() and not self.calls
        return said, self.calls[known:]

    def _marked(self) -> list[str]:
        """Take what stands between marks; returns the text before and between them."""
        said = []
        while (start := self._held.find(OPEN)) >= 0:
            end = self._held.find(CLOSE, start)
            if end < 0:
                break
            before, inside = self._held[:start], self._held[start + len(OPEN) : end]
            self._held = self._held[end + len(CLOSE) :]
            if self._take(inside):
                said.append(before.rstrip())
            else:
                said.append(f"{before}{OPEN}{inside}{CLOSE}")
        return said

    def _certain(self) -> str:
        """Text up to where a call may have begun."""
        if self._bare and not self.calls and self._held.lstrip()[:1] in ("", "{"):
            return ""  # the whole answer may be a call
        start = self._held.find(OPEN)
        if start < 0:
            lengths = range(min(len(self._held), len(OPEN) - 1), 0, -1)
            start = len(self._held) - next((n for n in lengths if self._held.endswith(OPEN[:n])), 0)
        start = len(self._held[:start].rstrip())  # what parts a text from a call belongs to neither
        said, self._held = self._held[:start], self._held[start:]
        return said

    def _end(self) -> str:
        said, self._held = self._held, ""
        if self._single and (start := said.find(OPEN)) >= 0 and self._take(said[start + len(OPEN) :]):
            return said[:start].rstrip()
        if self._bare and not self.calls and self._take(said):
            return ""
        return "" if self.calls and not said.strip() else said

    def _take(self, text: str) -> bool:
        """Whether this is a call, which is kept then."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return False
        if not isinstance(found, dict) or found.get("name") not in self._names:
            return False
        if found["name"] in self._held_names and not _begins(text, str(found["name"])):
            return False
        arguments = found.get("arguments", found.get("parameters"))
        if not isinstance(arguments, dict):
            return False
        written = json.dumps(arguments, ensure_ascii=False)
        self.calls.append(Call(len(self.calls), str(found["name"]), written))
        return True


def _begins(text: str, name: str) -> bool:
    """Whether this is how a call of this function begins."""
    return re.match(f'{BEGUN}{re.escape(name)}"', text) is not None
