"""POST /v1/embeddings: texts become vectors in the engine's care, a lot of a request after the other."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float

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
from workers.serving.shapes import provenance
from workers.serving.targets import Target

PATIENCE = 30.0  # seconds that what is left of a request waits for places, once its first part had some
GLANCE = 0.02  # seconds between two looks for them
Prompt = tuple[int, ...]


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


class Embedder:
    """Embeds what requests hold in lots, so that the many texts of one take no more places than answers."""

    def __init__(self, runner: Runner, preparing: Preparing, metrics: Metrics, limits: Limits) -> None:
        self._runner = runner
        self._preparing = preparing
        self._metrics = metrics
        self._most = max(1, limits.running)

    async def embed(self, order: Order) -> list[Embedding]:
        """All of them, in order. ApiError or EngineFull if there is no place for the first lot."""
        order.entry.answers, order.entry.submitted = len(order.prompts), time.monotonic()
        done: list[Embedding] = []
        while len(done) < len(order.prompts):
            left = order.prompts[len(done) :]
            done += await self._lot(order, left, patience=PATIENCE if done else 0)
        return done

    async def _lot(self, order: Order, left: Sequence[Prompt], *, patience: float) -> list[Embedding]:
        """As many as the engine lets take turns, and as the caller may have beside what is under way."""
        version = order.target.version
        # Where not all experts are in memory, texts would wait for and narrow each other's.
        width = self._most if version is None or version.resident is None else 1
        if order.caller.answers is not None:
            width = min(width, max(1, order.caller.answers - self._preparing.held(order.who)))
        prompts = left[:width]
        with await self._place(order, len(prompts), patience) as place:
            target = replace(order.target, asker=place.asker)
            made = self._preparing.made(place, target, partial(_embeddings, order.body, target, prompts))
            works = await place.kept(made)
        steps = self._runner.submit(works, caller=order.who)
        counting = Counting(order.target, works, 1, self._metrics, order.entry, order.charge)
        async with aclosing(counting.counted(steps)) as counted:
            async for _ in counted:
                pass
        return works

    async def _place(self, order: Order, texts: int, patience: float) -> Place:
        """Places for so many texts, as soon as there are some."""
        deadline = time.monotonic() + patience
        while True:
            try:
                require_answers(order.caller, self._preparing.held(order.who), texts)
                return self._preparing.place(order.who, texts)
            except (ApiError, EngineFull):
                if time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(GLANCE)


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


def embedding_document(order: Order, done: Sequence[Embedding]) -> dict[str, Any]:
    """The answer in OpenAI's shape, and our own part of it."""
    read = sum(map(len, order.prompts))
    write = _base64 if order.body.encoding_format == "base64" else torch.Tensor.tolist
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": place, "embedding": write(one.vector)}
            for place, one in enumerate(done)
        ],
        "model": order.body.model,
        "usage": {"prompt_tokens": read, "total_tokens": read},
        "fletch": provenance(order.target, done),
    }


def _embeddings(body: EmbeddingBody, target: Target, prompts: Sequence[Prompt]) -> list[Embedding]:
    """Embeddings of these prompts, each routed as the request says."""
    ways = target.ways([deciding(prompt, body) for prompt in prompts], param="input")
    uses = None if target.version is None else target.version.uses
    return [
        Embedding(target.model, prompt, route=way, uses=uses)
        for prompt, way in zip(prompts, ways, strict=True)
    ]


def _base64(vector: Float[torch.Tensor, " width"]) -> str:
    """Float32, the least significant byte first, as OpenAI's clients read it."""
    return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()
