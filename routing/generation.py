"""One answer on its way: its own key-value cache, source of chance and text, one forward pass at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from routing.layers import Witness
from routing.routed import RoutedModel
from routing.routes import Route
from routing.sampling import Likelihood, Sampling, draw, likelihood
from routing.streaming import Speller, StopWatch, TextToken
from routing.traces import Shares, Trace, both

PREFILL_CHUNK = 256  # tokens of a prompt per pass: long prompts must not silence the others for long

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Request:
    """What is asked of the model. `route` None is the plain base; `logprobs` is a number of alternatives.

    `choice` tells apart the answers to one prompt, so that each draws its own tokens from one seed.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    route: Route | None = None
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    echo: bool = False
    trace: bool = False
    choice: int = 0


class Generation:
    """The state of one answer. It keeps the index version that it began with for as long as it lives."""

    def __init__(self, model: RoutedModel, request: Request) -> None:
        self.request = request
        self.finish: Finish | None = None
        self.completion_tokens = 0
        self.shares = None if request.route is None else Shares(request.route.pack)
        self.trace = Trace(request.route.pack) if request.route is not None and request.trace else None
        self._model = model
        self._ends = _end_tokens(model)
        prompt = torch.tensor([request.prompt], device=model.base.device)
        self._cache = model.new_cache(prompt)
        self._chance = request.sampling.generator(request.choice)
        self._unread = model.base.family.opening(model.base.model, request.prompt)
        self.read_tokens: list[int] = []
        self._text = Speller(model.base.tokenizer, self._unread)
        self._stops = StopWatch(request.stop)
        self._echo = Speller(model.base.tokenizer)
        self._before: Float[Tensor, " vocabulary"] | None = None

    def advance(self) -> list[TextToken]:
        """One forward pass; returns the tokens whose text is certain now. Not to be called once finished."""
        chunk, self._unread = self._unread[:PREFILL_CHUNK], self._unread[PREFILL_CHUNK:]
        echoed = self._read_chunk(chunk)
        if self._unread:
            return echoed
        return echoed + self._speak()

    def _read_chunk(self, chunk: list[int]) -> list[TextToken]:
        """Feed tokens to the model; the echo of prompt tokens, if it was asked for."""
        echoing = self.request.echo and len(self.read_tokens) < len(self.request.prompt)
        ids = torch.tensor([chunk], device=self._model.base.device)
        every = echoing and self.request.logprobs is not None
        forward = self._model.logits if every else self._model.last_logits
        logits = forward(ids, route=self.request.route, cache=self._cache, witness=self._witness())[0]
        if self.shares is not None:
            self.shares.settle()
        echoed = self._echo_of(chunk, logits) if echoing else []
        self.read_tokens += chunk
        self._before = logits[-1]
        return echoed

    def _witness(self) -> Witness | None:
        if self.shares is None:
            return None
        return self.shares.record if self.trace is None else both(self.shares.record, self.trace.record)

    def _echo_of(self, chunk: list[int], logits: Float[Tensor, "positions vocabulary"]) -> list[TextToken]:
        """The prompt's own tokens; the very first has no likelihood, since nothing came before it."""
        tokens = []
        for place, token in enumerate(chunk):
            before = logits[place - 1] if place else self._before
            tokens += self._echo.push(token, self._likelihood(before, token))
        return tokens if self._unread else tokens + self._echo.rest()

    def _likelihood(self, logits: Float[Tensor, " vocabulary"] | None, token: int) -> Likelihood | None:
        if self.request.logprobs is None or logits is None:
            return None
        return likelihood(logits, token, self.request.logprobs)

    def _speak(self) -> list[TextToken]:
        """Draw the next token and let go of the text that is certain."""
        if self.completion_tokens >= self.request.max_tokens or self._before is None:
            return self._end("length")
        token = draw(self._before, self.request.sampling, self._chance)
        self.completion_tokens += 1
        if token in self._ends:
            return self._end("stop")
        certain = self._certain(self._text.push(token, self._likelihood(self._before, token)))
        if self._stops.stopped:
            self.finish = "stop"
            return certain
        if self.completion_tokens >= self.request.max_tokens:
            return certain + self._end("length")
        self._unread = [token]
        return certain

    def _certain(self, spelt: list[TextToken]) -> list[TextToken]:
        """The tokens that no stop string can begin in any more, up to where one has begun."""
        certain: list[TextToken] = []
        for token in spelt:
            certain += self._stops.push(token)
            if self._stops.stopped:
                break
        return certain

    def _end(self, finish: Finish) -> list[TextToken]:
        self.finish = finish
        return self._stops.rest() + self._text.rest()


def _end_tokens(model: RoutedModel) -> frozenset[int]:
    """The tokens that end an answer: what the base's generation config and its tokenizer say."""
    named = getattr(model.base.model.generation_config, "eos_token_id", None)
    several = named if isinstance(named, list) else [named]
    return frozenset(token for token in [*several, model.base.tokenizer.eos_token_id] if token is not None)
