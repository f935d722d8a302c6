"""Putting load on a serving process: many answers at once, and what whoever waits for them would notice."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from time import sleep
from typing import Any

from fletch.asking import Busy, Serving
from fletch.exits import CommandError

Heard = Callable[[int, int, str], None]  # how many have ended, of how many, and a note
CROWDED = {"too_many_answers", "queue_full"}  # refusals that fewer at once would not have met
LONGEST_PAUSE = 30.0  # seconds between two tries, unless more is asked for
PATIENCE = 120.0  # seconds without a token for anybody, after which what is refused stays refused


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
    """What came of all of them; how often who was put off, by what was said, and how many were at once."""

    replies: Sequence[Reply]
    seconds: float
    put_off: Mapping[str, int]
    at_once: int

    @property
    def answered(self) -> list[Reply]:
        """Those that were answered to the end."""
        return [reply for reply in self.replies if not reply.refusal]

    @property
    def refusals(self) -> dict[str, int]:
        """What was said instead of an answer, and how often."""
        return dict(Counter(reply.refusal for reply in self.replies if reply.refusal))

    def to_json(self) -> dict[str, Any]:
        """For programs; times in seconds, percentiles by name."""
        answered = self.answered
        return {
            "requests": len(self.replies),
            "answered": len(answered),
            "refusals": self.refusals,
            "put_off": dict(self.put_off),
            "at_once": self.at_once,
            "seconds": round(self.seconds, 3),
            "prompt_tokens": sum(reply.read for reply in answered),
            "completion_tokens": sum(reply.written for reply in answered),
            "shortest_answer": min((reply.written for reply in answered), default=0),
            "longest_answer": max((reply.written for reply in answered), default=0),
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
    """Ask for the answers to all bodies (chats have messages), so many at once, or as many as are taken.

    Who is put off (`Retry-After`) asks again when told to, and is timed from the try that was answered. Whose
    second try in a row was one too many at once leaves its question to others: pauses of many who wait for
    few places would be measured otherwise.
    """
    askers = _Askers(serving, deque(bodies), len(bodies), heard, at_once)
    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        for working in [pool.submit(askers.work) for _ in range(at_once)]:
            working.result()
    return Load(askers.replies, time.perf_counter() - began, askers.put_off, askers.at_once)


@dataclass
class _Askers:
    """Those who ask at the same time, each in a thread: what is left to ask, and what came."""

    serving: Serving
    waiting: deque[Mapping[str, Any]]
    total: int
    heard: Heard
    at_once: int
    replies: list[Reply] = field(default_factory=list)
    put_off: Counter[str] = field(default_factory=Counter)
    _working: int = field(init=False)  # who will look at what is waiting again
    _told: float = field(default_factory=time.monotonic)  # when anybody was last told anything
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """All begin."""
        self._working = self.at_once

    def work(self) -> None:
        """Ask until nothing is left, or one fewer is enough."""
        while (body := self._next()) is not None:
            reply = self._answer(body)
            if reply is None:
                return
            with self._lock:
                self.replies.append(reply)
                self.heard(len(self.replies), self.total, "")

    def _next(self) -> Mapping[str, Any] | None:
        with self._lock:
            if self.waiting:
                return self.waiting.popleft()
            self._working -= 1
            return None

    def _answer(self, body: Mapping[str, Any]) -> Reply | None:
        """An answer, or the refusal that stays; None where this asker left the question to others."""
        tries = 0
        while True:
            reply = Reply(time.perf_counter())
            try:
                self._ask(body, reply)
            except Busy as busy:
                tries += 1
                if time.monotonic() - self._told > PATIENCE:
                    reply.refusal = busy.detail
                elif self._leaves(body, busy, tries):
                    return None
                else:
                    sleep(max(busy.seconds, min(busy.seconds * 2 ** (tries - 1), LONGEST_PAUSE)))
                    continue
            except CommandError as error:
                reply.refusal = error.detail
            reply.ended = time.perf_counter()
            return reply

    def _leaves(self, body: Mapping[str, Any], busy: Busy, tries: int) -> bool:
        """Count that this was put off; whether others are to ask it, because there are too many askers."""
        with self._lock:
            self.put_off[busy.detail] += 1
            if busy.code not in CROWDED or tries == 1 or self._working == 1:
                return False
            self._working -= 1
            self.at_once -= 1
            self.waiting.appendleft(body)
            return True

    def _ask(self, body: Mapping[str, Any], reply: Reply) -> None:
        for chunk in _streamed(self.serving, body):
            if any(map(_text, chunk.get("choices", ()))):
                reply.pieces.append(time.perf_counter())
                self._told = time.monotonic()
            usage = chunk.get("usage") or {}
            reply.read = usage.get("prompt_tokens", reply.read)
            reply.written = usage.get("completion_tokens", reply.written)


def _streamed(serving: Serving, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    wanted = {**body, "stream": True, "stream_options": {"include_usage": True}}
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    return serving.events(path, wanted)


def _text(choice: Mapping[str, Any]) -> str:
    """What a chunk adds to an answer of either kind."""
    return choice.get("text") or choice.get("delta", {}).get("content") or ""
