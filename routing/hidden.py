"""Last hidden states: what a base makes of each token, before its head turns that into logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn


@dataclass
class Overheard:
    """What the latest pass of a reader made; None before there was one."""

    states: Float[Tensor, "batch tokens width"] | None = None


_HEARD: ContextVar[Overheard | None] = ContextVar("overheard", default=None)


@contextmanager
def overhearing() -> Iterator[Overheard]:
    """What passes inside make of their tokens, whether or not their head is asked for logits."""
    overheard = Overheard()
    token = _HEARD.set(overheard)
    try:
        yield overheard
    finally:
        _HEARD.reset(token)


def listen_to(reader: nn.Module) -> None:
    """From now on passes through this part of a base are heard by whoever is `overhearing` around them."""
    reader.register_forward_hook(_tell)


def _tell(_reader: nn.Module, _inputs: Any, answer: Any) -> None:
    overheard = _HEARD.get()
    if overheard is not None:
        overheard.states = answer.last_hidden_state
