"""Neutral text: what the base itself says when nobody asks it anything.

Scores of strangers become comparable when each is measured on text that is nobody's task. Text that the base
draws from itself is always of the base's own world, whatever that is, and needs no corpus.
"""

from __future__ import annotations

import torch
from jaxtyping import Int, Int32
from torch import Tensor

from routing.base import Base

SEQUENCES, LENGTH, SEED = 64, 64, 0


def neutral_tokens(
    base: Base, *, sequences: int = SEQUENCES, length: int = LENGTH, seed: int = SEED
) -> Int32[Tensor, "sequences length"]:
    """Texts drawn from the base at temperature one, each from the token that begins a text.

    An encoder-decoder is given an empty text, and then what it said to that; see `routing.family`. Equal on
    one machine; elsewhere rounding may draw other tokens, so what was drawn is kept in the store.
    """
    draw = torch.Generator().manual_seed(seed)
    beginning = torch.full((sequences, 1), _beginning(base), device=base.device)

    def say(given: Tensor, count: int) -> Tensor:
        return _said(base, given, count, draw)

    drawn = base.family.converse(beginning, min(length, base.spec.context), say)
    return drawn.to(device="cpu", dtype=torch.int32)


@torch.inference_mode()
def _said(
    base: Base, given: Int[Tensor, "rows given"], count: int, draw: torch.Generator
) -> Int[Tensor, "rows count"]:
    """So many tokens after what is given."""
    family, memory = base.family, base.family.memory(base.model, given)
    column = torch.tensor([family.opening(base.model, row) for row in given.tolist()], device=base.device)
    columns = []
    for _ in range(count):
        answer = base.model(**family.step(column, memory))
        family.keep(memory, answer)
        drawn = torch.multinomial(answer.logits[:, -1].float().softmax(-1).cpu(), 1, generator=draw)
        column = drawn.to(base.device)
        columns.append(column)
    return torch.cat(columns, dim=1)


def _beginning(base: Base) -> int:
    """The token that begins a text; any base has at least one that ends it, which is all of an empty text."""
    tokenizer = base.tokenizer
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0
