"""Clients: each asks one thing after another, of a kind drawn by lot, and looks at what comes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from uuid import UUID

import httpx

from bench.soak.asking import (
    TIMEOUT,
    Busy,
    Question,
    Said,
    ask,
    ask_and_leave,
    ask_streaming,
    chat,
    check,
    completion,
    sound,
)
from bench.soak.mistakes import EMBEDDINGS, MISTAKES
from bench.soak.shelf import LIBRARY, Shelf
from bench.soak.tally import Fault, Tally

TRACED = 300  # words: a mean of all experts in a longer prompt is more than one trace may hold
QUESTIONS = 10
ANSWER_TOKENS = 24
ROUTERS = ("arrow", "spectral", "delta-norm", "evidence", "two-stage", "uniform")
TURNS = 4
SAME_TEXT = 1e-3  # how far apart rounding puts one text that is read in two passes
PAUSE = 0.2  # of who was told that there is enough to do
References = Mapping[tuple[str, int], str]


@dataclass(frozen=True)
class World:
    """What all clients share: the process, its library, what is known of its answers, and the tally."""

    http: httpx.AsyncClient
    shelf: Shelf
    questions: tuple[Question, ...]
    references: References
    tally: Tally


def http_client(url: str, connections: int, headers: Mapping[str, str]) -> httpx.AsyncClient:
    """Connections to the process: as many as there are clients, and a few to look with. `headers` go with all."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(base_url=url, timeout=TIMEOUT, limits=limits, headers=dict(headers))


def standing_questions(shelf: Shelf) -> tuple[Question, ...]:
    """Greedy questions with different prompts and routers, whose answers a cast gives again and again."""
    draw = Random(11)
    return tuple(
        completion(
            _words(draw, shelf, draw.randrange(1, 120)),
            max_tokens=ANSWER_TOKENS,
            temperature=0,
            routing=_router(draw),
        )
        for _ in range(QUESTIONS)
    )


async def ask_alone(world: World) -> References:
    """What the version that is served says to the standing questions, one after another."""
    found = {}
    for place, question in enumerate(world.questions):
        said = await ask(world.http, question)
        check(said, question, world.shelf)
        found[said.fletch["manifest"], place] = said.texts[0]
    return found


async def live(world: World, seed: int, stop: asyncio.Event) -> None:
    """One client, until told to stop."""
    draw = Random(seed)
    kinds, weights = zip(*KINDS.items(), strict=True)
    while not stop.is_set():
        kind = draw.choices(kinds, weights)[0]
        try:
            await kind(world, draw)
            world.tally.count(kind.__name__, "as promised")
        except Busy:
            world.tally.count(kind.__name__, "busy")
            await asyncio.sleep(PAUSE * draw.random())
        except (Fault, httpx.HTTPError, KeyError, ValueError) as error:
            world.tally.fault(kind.__name__, f"{type(error).__name__}: {error}")
            await asyncio.sleep(PAUSE)


async def known(world: World, draw: Random) -> None:
    """A standing question, in whichever way it is asked: the answer must be the one that it had alone."""
    place = draw.randrange(len(world.questions))
    question = world.questions[place]
    body = dict(question.body)
    if draw.random() < 0.3:
        body["prompt_cache_key"] = f"standing-{place}"
    if draw.random() < 0.1:
        body["model"] = f"{LIBRARY}@{draw.choice(world.shelf.lately())}"
    said = await _asked(world, replace(question, body=body), draw)
    world.tally.add("tokens recalled", said.cached)
    expected = world.references[said.fletch["manifest"], place]
    if said.texts[0] != expected:
        raise Fault(
            f"question {place} to version {said.fletch['version']} ({body}): found {said.texts[0]!r}, "
            f"expected {expected!r}"
        )


async def anything(world: World, draw: Random) -> None:
    """A request of any shape that is allowed."""
    body: dict[str, Any] = {
        "max_tokens": draw.randrange(1, 64),
        "temperature": draw.choice((0, 0.7, 1.3)),
        "n": draw.choice((1, 1, 1, 2, 4)),
        "seed": draw.randrange(1000),
    }
    body |= draw.choice(
        (
            {},
            {"top_p": 0.9, "top_k": 40},
            {"logprobs": 3},
            {"logprobs": 2, "echo": True},
            {"stop": ["w7", "w70"]},
            {"presence_penalty": 1.0, "repetition_penalty": 1.2, "logit_bias": {"7": -100}},
        )
    )
    routing = _router(draw)
    if draw.random() < 0.05:
        routing["version"] = draw.choice(world.shelf.lately())
    length = draw.choice((1, 10, 60, 300, 900))
    if draw.random() < 0.1 and body["n"] == 1 and length <= TRACED:
        routing["trace"] = True
    body |= draw.choice(({"routing": routing}, {"routing": routing}, *_others(draw, world.shelf)))
    await _asked(world, completion(_words(draw, world.shelf, draw.randrange(1, length + 1)), **body), draw)


async def embedding(world: World, draw: Random) -> None:
    """Texts as vectors: one for each, of length one, and equal texts alike however they were read."""
    texts = [_words(draw, world.shelf, draw.randrange(1, 200)) for _ in range(draw.choice((1, 1, 3, 40)))]
    body = {"model": draw.choice((LIBRARY, f"{LIBRARY}/base")), "input": [*texts, texts[0]]}
    vectors = [one["embedding"] for one in sound(await world.http.post(EMBEDDINGS, json=body))["data"]]
    lengths = [math.hypot(*vector) for vector in vectors]
    apart = math.dist(vectors[0], vectors[-1])
    if len(vectors) != len(texts) + 1 or not all(math.isclose(one, 1, abs_tol=1e-4) for one in lengths):
        raise Fault(f"embeddings of {len(texts) + 1} texts: found {len(vectors)}, of lengths {lengths}")
    if apart > SAME_TEXT:
        raise Fault(f"embeddings: one text twice in a request, found {apart} apart")


async def conversation(world: World, draw: Random) -> None:
    """Some turns with a key by which what was read is not read again."""
    key = str(UUID(int=draw.getrandbits(128)))
    messages: list[dict[str, str]] = []
    for _turn in range(TURNS):
        messages.append({"role": "user", "content": _words(draw, world.shelf, draw.randrange(5, 60))})
        said = await ask(
            world.http, question := chat(messages, max_tokens=16, temperature=0, prompt_cache_key=key)
        )
        check(said, question, world.shelf)
        messages.append({"role": "assistant", "content": said.texts[0]})
        world.tally.add("tokens recalled", said.cached)


async def vanishing(world: World, draw: Random) -> None:
    """A client that is gone before its answer has ended: while it waits, or after some tokens of it."""
    prompt = _words(draw, world.shelf, draw.randrange(1, 500))
    question = completion(prompt, max_tokens=200, n=draw.choice((1, 2)))
    lines, seconds = draw.choice((0, 1, 5, 40)), draw.uniform(0.005, 2.0)
    await ask_and_leave(world.http, question, lines=lines, seconds=seconds)


async def mistaken(world: World, draw: Random) -> None:
    """A request that is wrong: refused with its own status and code, by an error in OpenAI's shape."""
    mistake = draw.choice(MISTAKES)
    headers = {"Content-Type": "application/json", **dict(mistake.headers)}
    answer = await world.http.post(mistake.path, content=mistake.content, headers=headers)
    if answer.status_code == 429:
        sound(answer)
    error = answer.json()["error"]
    if (answer.status_code, error["code"]) != (mistake.status, mistake.code):
        raise Fault(
            f"{mistake.content[:200]!r}: found {answer.status_code} {error}, expected {mistake.status} {mistake.code}"
        )


async def looking(world: World, draw: Random) -> None:
    """Somebody who looks at what is served."""
    path = draw.choice(("/v1/models", f"/v1/models/{LIBRARY}", "/healthz", "/readyz", "/metrics"))
    answer = await world.http.get(path)
    if answer.status_code != 200:
        raise Fault(f"{path}: status {answer.status_code}: {answer.text[:500]}")


async def bringing_guests(world: World, draw: Random) -> None:
    """Somebody whose private experts join the version that is served."""
    guests = draw.sample(world.shelf.guests, draw.choice((1, 1, 2)))
    headers = world.shelf.guest_list(guests)
    question = completion(_words(draw, world.shelf, 20), max_tokens=8, headers=headers)
    said = await _asked(world, question, draw)
    found, expected = said.fletch.get("private", {}).get("experts"), sorted(guest.adapter for guest in guests)
    if found != expected:
        raise Fault(f"private experts: found {found}, expected {expected}")


KINDS: dict[Callable[[World, Random], Awaitable[None]], int] = {
    known: 30,
    anything: 25,
    conversation: 8,
    embedding: 5,
    vanishing: 15,
    mistaken: 15,
    looking: 4,
    bringing_guests: 2,
}


async def _asked(world: World, question: Question, draw: Random) -> Said:
    said = await (ask_streaming if draw.random() < 0.5 else ask)(world.http, question)
    check(said, question, world.shelf)
    return said


def _router(draw: Random) -> dict[str, Any]:
    routing: dict[str, Any] = {"router": draw.choice(ROUTERS)}
    if draw.random() < 0.5 and routing["router"] != "uniform":
        routing["top_k"] = draw.randrange(1, 5)
    return draw.choice((routing, routing, {"shortlist": 2}, {"prior_weight": 1.0}, {}))


def _others(draw: Random, shelf: Shelf) -> tuple[dict[str, Any], ...]:
    """Those who ask somebody else than the library's router: the base, one expert, or some of them."""
    always = shelf.always
    return (
        {"model": f"{LIBRARY}/base"},
        {"model": f"{LIBRARY}/{draw.choice(always)}"},
        {"routing": {"experts": draw.sample(always, 2)}},
        {"routing": {"force": draw.sample(always, 2)}},
    )


def _words(draw: Random, shelf: Shelf, count: int) -> str:
    return " ".join(f"w{draw.randrange(shelf.spec.vocabulary)}" for _ in range(count))
