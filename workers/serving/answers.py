"""Answering: run the generations of one request and write them down, whole or as a stream."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request as HttpRequest

from routing.engine import Step
from routing.generation import Generation
from workers.serving.errors import ApiError, gone_away
from workers.serving.journal import BROKE_OFF, Ended, Entry
from workers.serving.metrics import Metrics
from workers.serving.runner import Steps
from workers.serving.shapes import Envelope, Shape, Writing, provenance, usage
from workers.serving.voices import Voices

log = logging.getLogger(__name__)
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Job:
    """One request on its way to an answer."""

    envelope: Envelope
    shape: Shape
    generations: Sequence[Generation]
    choices: int  # of each prompt
    metrics: Metrics
    entry: Entry
    charge: Callable[[int], None]  # tokens to whoever asks
    voices: Callable[[], Voices | None] = lambda: None  # of one choice

    def begin(self) -> list[Writing]:
        """A choice for each generation, of which nothing is written yet."""
        writings = [self.shape.begin() for _ in self.generations]
        for writing in writings:
            writing.voices = self.voices()
        return writings

    @property
    def tokenizer(self) -> Any:
        """The base's tokenizer."""
        return self.envelope.target.model.base.tokenizer

    async def counted(self, steps: Steps) -> AsyncGenerator[tuple[int, Step], None]:
        """The generations' steps, counted; leaving early cancels what is left."""
        entry = self.entry
        started = entry.submitted or time.monotonic()
        latest: dict[int, float] = {}
        try:
            with closing(steps):
                async for place, step in steps:
                    if step.tokens:
                        now = time.monotonic()
                        if entry.first_token is None:
                            entry.first_token = now
                            self.metrics.first_token.observe(now - started)
                        if place in latest:
                            self.metrics.between_tokens.observe(now - latest[place])
                        latest[place] = now
                    if step.finish is not None:
                        entry.ends.append(Ended(place, step.finish, time.monotonic()))
                    yield place, step
        finally:
            entry.admitted, entry.answered = steps.admitted, time.monotonic()
            self.metrics.queue_seconds.observe((entry.admitted or entry.answered) - started)
            self._count()

    def _count(self) -> None:
        """What was read and written and who spoke, also where the client went before the end."""
        metrics, target = self.metrics, self.envelope.target
        counts, library = usage(self.generations, self.choices), target.library
        entry = self.entry
        entry.prompt_tokens, entry.completion_tokens = counts["prompt_tokens"], counts["completion_tokens"]
        entry.recalled_tokens = counts["prompt_tokens_details"]["cached_tokens"]
        self.charge(entry.prompt_tokens - entry.recalled_tokens + entry.completion_tokens)
        metrics.prompt_tokens.labels(library).inc(entry.prompt_tokens)
        metrics.completion_tokens.labels(library).inc(entry.completion_tokens)
        metrics.recalled_tokens.labels(library).inc(entry.recalled_tokens)
        for generation in self.generations:
            if generation.request.conversation is not None:
                metrics.recalls.labels(library, "hit" if generation.recalled_tokens else "miss").inc()
        version = target.version
        if version is not None:
            private = () if version.guests is None else version.guests.names
            shares = [generation.shares for generation in self.generations if generation.shares is not None]
            metrics.speakers.heard(library, shares, private, len(version.pack.experts))


async def answer_whole(job: Job, steps: Steps, request: HttpRequest) -> dict[str, Any]:
    """The finished answer; given up, and its generations with it, when the client goes away."""
    writing = asyncio.ensure_future(_written(job, steps))
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not writing.done():
            raise gone_away()
        return writing.result()
    finally:
        for task in (writing, leaving):
            task.cancel()
        await asyncio.gather(writing, leaving, return_exceptions=True)


async def _written(job: Job, steps: Steps) -> dict[str, Any]:
    writings = job.begin()
    async with aclosing(job.counted(steps)) as counted:
        async for place, step in counted:
            writings[place].add(step)
    fields = [
        {**job.shape.whole(writing, job.tokenizer), **writing.heard(writing.tokens)} for writing in writings
    ]
    choices = [_choice(place, fields[place], writing.reason) for place, writing in enumerate(writings)]
    return job.envelope.of(
        job.shape.whole_object,
        choices,
        usage=usage(job.generations, job.choices),
        fletch=provenance(job.envelope.target, job.generations),
    )


async def _gone(request: HttpRequest) -> None:
    """Return when the client has gone away: its body was read, so nothing else can come from it."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def answer_stream(job: Job, steps: Steps, *, include_usage: bool) -> AsyncGenerator[bytes, None]:
    """Server-sent events as OpenAI sends them; our own part comes with the last chunk that has a choice."""
    try:
        async with aclosing(_chunks(job, steps)) as chunks:
            async for chunk in chunks:
                yield _event(chunk)
    except Exception as error:
        log.exception("%s broke off", job.envelope.id)
        failure = ApiError(500, f"the answer broke off: {error}", code=BROKE_OFF)
        job.entry.error = failure.code
        yield _event(failure.body())
        return
    if include_usage:
        counts = usage(job.generations, job.choices)
        yield _event(job.envelope.of(job.shape.chunk_object, [], usage=counts))
    yield DONE


async def _chunks(job: Job, steps: Steps) -> AsyncGenerator[dict[str, Any], None]:
    writings = job.begin()
    kind, opening = job.shape.chunk_object, job.shape.first()
    for place in range(len(writings)):
        if opening is not None:
            yield job.envelope.of(kind, [_choice(place, opening, None)])
    async with aclosing(job.counted(steps)) as counted:
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
            ours = {"fletch": provenance(job.envelope.target, job.generations)} if last else {}
            yield job.envelope.of(kind, [_choice(place, piece, writing.reason)], **ours)


def _choice(index: int, fields: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": index, "finish_reason": finish, **fields}


def _event(content: dict[str, Any]) -> bytes:
    written = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return f"data: {written}\n\n".encode()
