"""Putting load on a serving process: many answers at once, and what whoever waits for them would notice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from fletch.asking import Serving
from fletch.exits import CommandError

Heard = Callable[[int, int, str], None]  # how many have ended, of how many, and a note


@dataclass
class Reply:
    """One answer as it came: when it was asked for and each piece of it was there, in seconds."""

    asked: float
    pieces: list[float] = field(default_factory=list)
    ended: float = 0.0
    read: int = 0
    written: int = 0
    refusal: str = ""

    @property
    def first(self) -> float:
        """Seconds to the first piece."""
        return self.pieces[0] - self.asked

    @property
    def gaps(self) -> list[float]:
        """Seconds between pieces."""
        return [later - sooner for sooner, later in pairwise(self.pieces)]


@dataclass(frozen=True)
class Load:
    """What came of all of them."""

    replies: Sequence[Reply]
    seconds: float

    @property
    def answered(self) -> list[Reply]:
        """Those that were answered to the end."""
        return [reply for reply in self.replies if not reply.refusal]

    @property
    def refusals(self) -> dict[str, int]:
        """What was said instead, and how often."""
        counts: dict[str, int] = {}
        for reply in self.replies:
            if reply.refusal:
                counts[reply.refusal] = counts.get(reply.refusal, 0) + 1
        return counts

    def to_json(self) -> dict[str, Any]:
        """For programs; times in seconds, percentiles by name."""
        answered = self.answered
        return {
            "requests": len(self.replies),
            "answered": len(answered),
            "refusals": self.refusals,
            "seconds": round(self.seconds, 3),
            "prompt_tokens": sum(reply.read for reply in answered),
            "completion_tokens": sum(reply.written for reply in answered),
            "completion_tokens_per_second": round(sum(reply.written for reply in answered) / self.seconds, 2),
            "first_token": percentiles(reply.first for reply in answered if reply.pieces),
            "between_tokens": percentiles(gap for reply in answered for gap in reply.gaps),
            "whole_answer": percentiles(reply.ended - reply.asked for reply in answered),
        }


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Median, 95th percentile and largest of some seconds; nothing of nothing."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        "p50": round(ordered[len(ordered) // 2], 4),
        "p95": round(ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)], 4),
        "max": round(ordered[-1], 4),
    }


def put_on(serving: Serving, bodies: Sequence[Mapping[str, Any]], *, at_once: int, heard: Heard) -> Load:
    """Ask for the completions of all bodies, so many at once; what is refused is not asked again."""
    began = time.perf_counter()
    replies = []
    with ThreadPoolExecutor(at_once) as pool:
        for done in as_completed([pool.submit(_ask, serving, body) for body in bodies]):
            replies.append(done.result())
            heard(len(replies), len(bodies), "")
    return Load(replies, time.perf_counter() - began)


def _ask(serving: Serving, body: Mapping[str, Any]) -> Reply:
    reply = Reply(time.perf_counter())
    try:
        for chunk in _streamed(serving, body):
            if any(choice.get("text") for choice in chunk.get("choices", ())):
                reply.pieces.append(time.perf_counter())
            usage = chunk.get("usage") or {}
            reply.read = usage.get("prompt_tokens", reply.read)
            reply.written = usage.get("completion_tokens", reply.written)
    except CommandError as error:
        reply.refusal = error.detail
    reply.ended = time.perf_counter()
    return reply


def _streamed(serving: Serving, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    wanted = {**body, "stream": True, "stream_options": {"include_usage": True}}
    return serving.events("/v1/completions", wanted)
