"""POST /v1/embeddings: texts become vectors in the engine's care, a lot of a request after the other."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Float
from starlette.concurrency import run_in_threadpool

from routing.embedding import Embedding
from routing.engine import EngineFull
from workers.serving.bodies import EmbeddingBody
from workers.serving.budgets import require_answers
from workers.serving.callers import Caller, Identity
from workers.serving.counting import Counting
from workers.serving.errors import ApiError, invalid
from workers.serving.inputs import deciding, require_fit, several, tokens_of
from workers.serving.journal import Entry
from workers.serving.metrics import Metrics
from workers.serving.options import Limits
from workers.serving.preparing import Place, Preparing
from workers.serving.runner import Runner
from workers.serving.shapes import Spoken, who_spoke
from workers.serving.targets import Target

PATIENCE = 30.0  # seconds that what is left of a request waits for places, once its first part had some
GLANCE = 0.02  # seconds between two looks for them
WRITTEN = 32  # embeddings in a piece of the answer: as text their numbers take many times their memory
Prompt = tuple[int, ...]
Vector = Float[torch.Tensor, " width"]


@dataclass(frozen=True)
class Order:
    """What is to be embedded, and for whom: `who` is counted by places, `charge` is told of tokens."""

    body: EmbeddingBody
    target: Target
    prompts: Sequence[Prompt]
    caller: Caller
    who: Identity
    entry: Entry
    charge: Callable[[int], None]


@dataclass
class Embedded:
    """What texts have come to; what it took is let go, which for the many of a request would be gigabytes."""

    vectors: list[Vector] = field(default_factory=list)
    spoken: Spoken = field(default_factory=Spoken)

    def add(self, works: Sequence[Embedding]) -> None:
        """Take what has ended; NotFinite where the base or an expert computed no numbers."""
        for work in works:
            self.vectors.append(work.vector)
            self.spoken.add(work)


class Embedder:
    """Embeds what requests hold in lots, so that the many texts of one take no more places than answers."""

    def __init__(self, runner: Runner, preparing: Preparing, metrics: Metrics, limits: Limits) -> None:
        self._runner = runner
        self._preparing = preparing
        self._metrics = metrics
        self._most = max(1, limits.running)

    async def embed(self, order: Order) -> Embedded:
        """All of them, in order. ApiError or EngineFull if there is no place for the first lot."""
        order.entry.answers, order.entry.submitted = len(order.prompts), time.monotonic()
        done = Embedded()
        while (count := len(done.vectors)) < len(order.prompts):
            works = await self._lot(order, count, patience=PATIENCE if count else 0)
            await run_in_threadpool(done.add, works)
        return done

    async def _lot(self, order: Order, start: int, *, patience: float) -> list[Embedding]:
        """From `start` as many as the engine lets take turns, and the caller may have beside their others.

        Fewer where others leave no places for all of them.
        """
        version = order.target.version
        # Where not all experts are in memory, texts would wait for and narrow each other's.
        width = self._most if version is None or version.resident is None else 1
        if order.caller.answers is not None:
            width = min(width, max(1, order.caller.answers - self._preparing.held(order.who)))
        most = min(width, len(order.prompts) - start)
        with await self._place(order, most, patience) as place:
            prompts = order.prompts[start : start + place.answers]
            target = replace(order.target, asker=place.asker)
            made = self._preparing.made(place, target, partial(_embeddings, order.body, target, prompts))
            works = await place.kept(made)
        counting = Counting(order.target, works, 1, self._metrics, order.entry, order.charge)
        steps = self._runner.submit(works, caller=order.who, told=counting.charge_new)
        async with aclosing(counting.counted(steps)) as counted:
            async for _ in counted:
                pass
        return works

    async def _place(self, order: Order, most: int, patience: float) -> Place:
        """Places for so many texts, or for some of them, as soon as there are any."""
        deadline = time.monotonic() + patience
        while True:
            try:
                return self._some(order, most)
            except (ApiError, EngineFull):
                if time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(GLANCE)

    def _some(self, order: Order, most: int) -> Place:
        """Places for so many, a half, a quarter ... of them; ApiError or EngineFull if not even for one."""
        try:
            require_answers(order.caller, self._preparing.held(order.who), most)
            return self._preparing.place(order.who, most)
        except (ApiError, EngineFull):
            if most == 1:
                raise
        return self._some(order, most // 2)


def embedding_prompts(body: EmbeddingBody, target: Target, limits: Limits) -> list[Prompt]:
    """A request's texts as tokens; ApiError says what cannot be embedded, or not so."""
    width = target.model.embedding_width
    if width is None:
        raise invalid("model", "this base gives no embeddings; the server's log says why")
    if body.dimensions not in (None, width):
        raise invalid(
            "dimensions",
            f"found {body.dimensions}, expected {width} or nothing: what this base makes cannot be cut short",
        )
    if body.routing.trace:
        raise invalid("routing.trace", "is of answers; ask for a completion")
    given = several(body.input, "input")
    if len(given) > limits.embeddings:
        raise invalid("input", f"found {len(given)}, expected at most {limits.embeddings}")
    prompts = [tokens_of(one, target, "input") if one else () for one in given]
    for place, prompt in enumerate(prompts):
        if not prompt:
            raise invalid("input", f"found nothing at place {place}, expected a text or tokens")
        require_fit(prompt, 0, target, limits, "input")
    return prompts


async def embedding_document(order: Order, done: Embedded) -> AsyncGenerator[bytes, None]:
    """The answer in OpenAI's shape, and our own part of it, in pieces of JSON."""
    vectors = done.vectors
    yield b'{"object":"list","data":['
    for start in range(0, len(vectors), WRITTEN):
        yield await run_in_threadpool(_entries, order.body, vectors[start : start + WRITTEN], start)
    read = sum(map(len, order.prompts))
    behind = {
        "model": order.body.model,
        "usage": {"prompt_tokens": read, "total_tokens": read},
        "fletch": who_spoke(order.target, done.spoken),
    }
    yield b"]," + _json(behind)[1:]


def _entries(body: EmbeddingBody, vectors: Sequence[Vector], start: int) -> bytes:
    """A piece of the list of embeddings, with the comma between it and the piece before."""
    write = _base64 if body.encoding_format == "base64" else torch.Tensor.tolist
    entries = [
        {"object": "embedding", "index": place, "embedding": write(vector)}
        for place, vector in enumerate(vectors, start)
    ]
    return (b"," if start else b"") + _json(entries)[1:-1]


def _json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _embeddings(body: EmbeddingBody, target: Target, prompts: Sequence[Prompt]) -> list[Embedding]:
    """Embeddings of these prompts, each routed as the request says."""
    ways = target.ways([deciding(prompt, body) for prompt in prompts], param="input")
    uses = None if target.version is None else target.version.uses
    return [
        Embedding(target.model, prompt, route=way, uses=uses)
        for prompt, way in zip(prompts, ways, strict=True)
    ]


def _base64(vector: Vector) -> str:
    """Float32, the least significant byte first, as OpenAI's clients read it."""
    return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()
