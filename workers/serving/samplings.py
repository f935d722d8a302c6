"""From what a request says of chance, penalties and biases to how its tokens are drawn."""

from __future__ import annotations

import re

from routing.penalties import Penalties
from routing.sampling import Sampling
from workers.serving.bodies import AnyBody
from workers.serving.errors import invalid

TOKEN = re.compile(r"[0-9]{1,9}")


def sampling_of(body: AnyBody, vocabulary: int) -> Sampling:
    """How the tokens of an answer are drawn; ApiError for a bias on a token that the base has not."""
    return Sampling(
        1.0 if body.temperature is None else body.temperature,
        1.0 if body.top_p is None else body.top_p,
        body.seed,
        top_k=body.top_k if (body.top_k or 0) > 0 else None,
        min_p=body.min_p or 0.0,
        penalties=_penalties(body, vocabulary),
    )


def _penalties(body: AnyBody, vocabulary: int) -> Penalties:
    bias = {_token(name, vocabulary): value for name, value in (body.logit_bias or {}).items()}
    return Penalties(
        presence=body.presence_penalty or 0.0,
        frequency=body.frequency_penalty or 0.0,
        repetition=1.0 if body.repetition_penalty is None else body.repetition_penalty,
        bias=bias,
    )


def _token(name: str, vocabulary: int) -> int:
    """The token of a key: JSON has no numbers there."""
    token = int(name) if TOKEN.fullmatch(name) else vocabulary
    if token >= vocabulary:
        raise invalid("logit_bias", f"found {name[:40]!r}, expected tokens from 0 to {vocabulary - 1}")
    return token
