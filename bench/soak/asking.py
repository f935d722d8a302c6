"""Asking a serving process, whole or as a stream, and what every answer must be like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from bench.soak.shelf import LIBRARY, Shelf
from bench.soak.tally import Fault

BUSY = ("queue_full", "private_busy", "version_busy")  # what a process that has enough to do may say
TIMEOUT = 300.0  # seconds: a machine that does other things besides is slow, not stuck
FINISHES = {"stop", "length"}


class Busy(Exception):
    """The process has enough to do; whoever asked comes again."""


@dataclass(frozen=True)
class Question:
    """A request: where to, and with what."""

    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def choices(self) -> int:
        """How many answers it asks for."""
        return int(self.body.get("n") or 1)


@dataclass(frozen=True)
class Said:
    """An answer: its choices' texts and ends, and what came with them."""

    texts: tuple[str, ...]
    finishes: tuple[str | None, ...]
    fletch: Mapping[str, Any]
    cached: int = 0


def completion(prompt: Any, *, headers: Mapping[str, str] | None = None, **fields: Any) -> Question:
    """A completion of the library's model unless `fields` name another."""
    return Question("/v1/completions", {"model": LIBRARY, "prompt": prompt, **fields}, headers or {})


def chat(messages: list[dict[str, str]], **fields: Any) -> Question:
    """An answer in a conversation."""
    return Question("/v1/chat/completions", {"model": LIBRARY, "messages": messages, **fields}, {})


async def ask(client: httpx.AsyncClient, question: Question) -> Said:
    """The whole answer; Busy, or Fault for anything but a sound one."""
    answer = await client.post(question.path, json=question.body, headers=question.headers)
    content = sound(answer)
    choices = content["choices"]
    cached = content["usage"]["prompt_tokens_details"]["cached_tokens"]
    return Said(
        tuple(_text(choice) for choice in choices),
        tuple(choice["finish_reason"] for choice in choices),
        content["fletch"],
        cached,
    )


async def ask_streaming(client: httpx.AsyncClient, question: Question) -> Said:
    """The same, sent as it is written; it must end as OpenAI's streams do."""
    texts = [""] * question.choices
    finishes: list[str | None] = [None] * question.choices
    fletch: Mapping[str, Any] = {}
    ended = False
    body = {**question.body, "stream": True}
    async with client.stream("POST", question.path, json=body, headers=question.headers) as answer:
        if answer.status_code != 200:
            await answer.aread()
            sound(answer)
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                ended = True
            elif line:
                chunk = json.loads(line.removeprefix("data: "))
                if "error" in chunk:
                    raise Fault(f"the stream of {question.body} broke off: {chunk['error']}")
                fletch = chunk.get("fletch", fletch)
                for choice in chunk["choices"]:
                    texts[choice["index"]] += _text(choice)
                    finishes[choice["index"]] = choice["finish_reason"]
    if not ended:
        raise Fault(f"the stream of {question.body} has no end")
    return Said(tuple(texts), tuple(finishes), fletch)


async def ask_and_leave(client: httpx.AsyncClient, question: Question, *, lines: int, seconds: float) -> None:
    """Ask, and be gone after so many lines of the stream or so many seconds, whichever comes first."""
    try:
        async with asyncio.timeout(seconds):
            body = {**question.body, "stream": lines > 0}
            async with client.stream("POST", question.path, json=body, headers=question.headers) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    sound(answer)
                async for _line in answer.aiter_lines():
                    lines -= 1
                    if lines <= 0:
                        return
    except TimeoutError:
        return


def sound(answer: httpx.Response) -> Any:
    """The JSON of a good answer; Busy, or Fault with what came instead."""
    if answer.status_code == 200:
        return answer.json()
    if (
        answer.status_code == 429
        and answer.json()["error"]["code"] in BUSY
        and "Retry-After" in answer.headers
    ):
        raise Busy
    raise Fault(f"status {answer.status_code}: {answer.text[:500]}")


def check(said: Said, question: Question, shelf: Shelf) -> None:
    """Fault unless every choice has ended and one sound version answered: the one that was asked for, if any."""
    if len(said.texts) != question.choices or not set(said.finishes) <= FINISHES:
        raise Fault(f"found ends {said.finishes} of {question.choices} choices")
    number: int | None = said.fletch.get("version")
    manifest: str | None = said.fletch.get("manifest")
    if number is None and question.body["model"] == f"{LIBRARY}/base":
        return
    published = None if number is None else shelf.versions.get(number)
    if published is None or published != manifest:
        raise Fault(f"version {number} answered by manifest {manifest}, published as {published}")
    wanted = question.body.get("routing", {}).get("version", number)
    if question.body["model"].startswith(f"{LIBRARY}@"):
        wanted = int(question.body["model"].rpartition("@")[2])
    if number != wanted:
        raise Fault(f"version {wanted} was asked for, {number} answered")


def _text(choice: Mapping[str, Any]) -> str:
    message = choice.get("message") or choice.get("delta")
    return (choice.get("text") if message is None else message.get("content")) or ""
