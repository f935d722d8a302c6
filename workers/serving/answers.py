"""Answering: run the generations of one request and write them down, whole or as a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request as HttpRequest

from workers.serving.counting import Counting
from workers.serving.errors import let_go, refusal
from workers.serving.leaving import unless_gone
from workers.serving.runner import Steps
from workers.serving.shapes import Envelope, Shape, Writing, provenance, usage
from workers.serving.voices import Voices

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Job:
    """One request on its way to an answer."""

    envelope: Envelope
    shape: Shape
    counting: Counting
    voices: Callable[[], Voices | None] = lambda: None  # of one choice

    def begin(self) -> list[Writing]:
        """A choice for each generation, of which nothing is written yet."""
        writings = [self.shape.begin() for _ in self.counting.works]
        for writing in writings:
            writing.voices = self.voices()
        return writings

    @property
    def usage(self) -> dict[str, Any]:
        """Tokens so far."""
        return usage(self.counting.works, self.counting.choices)

    @property
    def provenance(self) -> dict[str, Any]:
        """Who spoke so far."""
        return provenance(self.envelope.target, self.counting.works)

    @property
    def tokenizer(self) -> Any:
        """The base's tokenizer."""
        return self.envelope.target.model.base.tokenizer


async def answer_whole(job: Job, steps: Steps, request: HttpRequest) -> dict[str, Any]:
    """The finished answer; given up, and its generations with it, when the client goes away."""
    return await unless_gone(request, _written(job, steps))


async def _written(job: Job, steps: Steps) -> dict[str, Any]:
    writings = job.begin()
    async with aclosing(job.counting.counted(steps)) as counted:
        async for place, step in counted:
            writings[place].add(step)
    fields = [
        {**job.shape.whole(writing, job.tokenizer), **writing.heard(writing.tokens)} for writing in writings
    ]
    choices = [_choice(place, fields[place], writing.reason) for place, writing in enumerate(writings)]
    return job.envelope.of(
        job.shape.whole_object,
        choices,
        usage=job.usage,
        fletch=job.provenance,
    )


async def answer_stream(job: Job, steps: Steps, *, include_usage: bool) -> AsyncGenerator[bytes, None]:
    """Server-sent events as OpenAI sends them; our own part comes with the last chunk that has a choice."""
    try:
        async with aclosing(_chunks(job, steps)) as chunks:
            async for chunk in chunks:
                yield _event({**chunk, "usage": None} if include_usage else chunk)
    except Exception as error:  # noqa: BLE001 - whatever it is, the client is told in OpenAI's shape
        told = refusal(error, job.envelope.id)
        job.counting.entry.error = told.code
        let_go(error)
        yield _event(told.body())
        return
    if include_usage:
        yield _event(job.envelope.of(job.shape.chunk_object, [], usage=job.usage))
    yield DONE


async def _chunks(job: Job, steps: Steps) -> AsyncGenerator[dict[str, Any], None]:
    writings = job.begin()
    kind, opening = job.shape.chunk_object, job.shape.first()
    for place in range(len(writings)):
        if opening is not None:
            yield job.envelope.of(kind, [_choice(place, opening, None)])
    async with aclosing(job.counting.counted(steps)) as counted:
        async for place, step in counted:
            if not step.tokens and step.finish is None:
                continue
            writing = writings[place]
            writing.add(step)
            piece = {
                **job.shape.piece(step.tokens, job.tokenizer, writing),
                **writing.heard(step.tokens),
            }
            last = all(other.finish for other in writings)
            ours = {"fletch": job.provenance} if last else {}
            yield job.envelope.of(kind, [_choice(place, piece, writing.reason)], **ours)


def _choice(index: int, fields: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": index, "finish_reason": finish, **fields}


def _event(content: dict[str, Any]) -> bytes:
    written = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return f"data: {written}\n\n".encode()
