"""Answering: run the generations of one request and write them down, whole or as a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from workers.serving.counting import Counting
from workers.serving.errors import let_go, refusal
from workers.serving.leaving import unless_gone
from workers.serving.runner import Steps
from workers.serving.shapes import Envelope, Shape, Writing, provenance, usage
from workers.serving.voices import Voices

DONE = b"data: [DONE]\n\n"
# Step by step, where `json.dumps` would keep the interpreter to itself until all is written.
IN_STEPS = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
Result = TypeVar("Result")


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
    def traced(self) -> bool:
        """Whether it tells every selection, which takes long to write down."""
        return any(work.trace is not None for work in self.counting.works)

    async def beside(self, work: Callable[[], Result]) -> Result:
        """What `work` comes to: on a thread where it takes long, so that others are answered meanwhile."""
        return await run_in_threadpool(work) if self.traced else work()

    @property
    def tokenizer(self) -> Any:
        """The base's tokenizer."""
        return self.envelope.target.model.base.tokenizer


async def answer_whole(job: Job, steps: Steps, request: HttpRequest) -> Response:
    """The finished answer; given up, and its generations with it, when the client goes away."""
    return await unless_gone(request, _written(job, steps))


async def _written(job: Job, steps: Steps) -> Response:
    writings = job.begin()
    async with aclosing(job.counting.counted(steps)) as counted:
        async for place, step in counted:
            writings[place].add(step)
    return await job.beside(partial(_response, job, writings))


def _response(job: Job, writings: Sequence[Writing]) -> Response:
    fields = [
        {**job.shape.whole(writing, job.tokenizer), **writing.heard(writing.tokens)} for writing in writings
    ]
    choices = [_choice(place, fields[place], writing.reason) for place, writing in enumerate(writings)]
    answer = job.envelope.of(job.shape.whole_object, choices, usage=job.usage, fletch=job.provenance)
    return Response(_in_steps(answer), media_type="application/json") if job.traced else JSONResponse(answer)


async def answer_stream(job: Job, steps: Steps, *, include_usage: bool) -> AsyncGenerator[bytes, None]:
    """Server-sent events as OpenAI sends them; our own part comes with the last chunk that has a choice."""
    try:
        async with aclosing(_chunks(job, steps)) as chunks:
            async for chunk in chunks:
                said = {**chunk, "usage": None} if include_usage else chunk
                traced = "fletch" in said and job.traced
                yield await job.beside(partial(_long_event, said)) if traced else _event(said)
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
            ours = {"fletch": await job.beside(lambda: job.provenance)} if last else {}
            yield job.envelope.of(kind, [_choice(place, piece, writing.reason)], **ours)


def _choice(index: int, fields: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": index, "finish_reason": finish, **fields}


def _in_steps(content: dict[str, Any]) -> bytes:
    return "".join(IN_STEPS.iterencode(content)).encode()


def _long_event(content: dict[str, Any]) -> bytes:
    return b"data: " + _in_steps(content) + b"\n\n"


def _event(content: dict[str, Any]) -> bytes:
    written = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return f"data: {written}\n\n".encode()
