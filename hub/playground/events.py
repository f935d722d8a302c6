"""An answer while it comes: a serving process's stream of OpenAI's chunks, read into what pages show."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from hub.errors import HubError

DATA = "data: "
END = "[DONE]"


class BrokeOff(HubError):
    """The answer broke off: the serving process went away in the middle of it."""

    code = "broke_off"


@dataclass(frozen=True)
class Token:
    """A token of an answer, and who led where it was predicted: a place among the experts heard, or the base.

    `modules` has for each module its leading expert, and that expert's weight there in percent.
    """

    text: str
    expert: int | None = None
    share: float = 0.0
    modules: tuple[tuple[int | None, int], ...] = ()


@dataclass(frozen=True)
class Heard:
    """More of an answer: its tokens, and the experts and modules that they name for the first time."""

    tokens: tuple[Token, ...]
    experts: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """How an answer ended, and each expert's share of all mixing weight in prompt and answer."""

    finish: str
    version: int | None
    shares: tuple[tuple[str, float], ...]
    prompt_tokens: int
    completion_tokens: int


Event = Heard | Ended


def read(lines: Iterable[str]) -> Iterator[Event]:
    """The events of a stream. Raises BrokeOff where it ends before it says so, or says why it does."""
    finish = ""
    ours: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    for line in lines:
        if not line.startswith(DATA):
            continue
        if line == DATA + END:
            yield _ended(finish, ours, usage)
            return
        chunk = json.loads(line.removeprefix(DATA))
        if "error" in chunk:
            raise BrokeOff(f"The answer broke off. The serving process says: {chunk['error']['message']}")
        ours, usage = chunk.get("fletch", ours), chunk.get("usage") or usage
        for choice in chunk["choices"]:
            finish = choice["finish_reason"] or finish
            heard = _heard(choice)
            if heard.tokens:
                yield heard
    raise BrokeOff


def as_line(event: Event) -> bytes:
    """An event as a page's script reads it: a line of JSON."""
    kind = "heard" if isinstance(event, Heard) else "ended"
    return line({"kind": kind, **asdict(event)})


def line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _heard(choice: dict[str, Any]) -> Heard:
    """What one chunk says; where nobody is routed the text alone."""
    said = choice.get("fletch")
    if said is None:
        text = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
        return Heard((Token(text),) if text else ())
    modules = said.get("by_module") or [None] * len(said["tokens"])
    tokens = (
        Token(text, leading, share, _pairs(found))
        for text, leading, share, found in zip(
            said["tokens"], said["leading"], said["shares"], modules, strict=True
        )
    )
    return Heard(tuple(tokens), tuple(said["experts"]), tuple(said.get("modules", ())))


def _pairs(found: dict[str, Any] | None) -> tuple[tuple[int | None, int], ...]:
    return () if found is None else tuple(zip(found["experts"], found["weights"], strict=True))


def _ended(finish: str, ours: dict[str, Any], usage: dict[str, Any]) -> Ended:
    return Ended(
        finish,
        ours.get("version"),
        tuple((one["adapter"], one["share"]) for one in ours.get("experts", ())),
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
    )
