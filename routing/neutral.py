"""Neutral text: what the base itself says when nobody asks it anything.

Scores of strangers become comparable when each is measured on text that is nobody's task. Text that the base
draws from itself is always of the base's own world, whatever that is, and needs no corpus.
"""

from __future__ import annotations

import torch
from jaxtyping import Int32
from torch import Tensor
from transformers import DynamicCache

from routing.base import Base

SEQUENCES, LENGTH, SEED = 64, 64, 0


@torch.inference_mode()
def neutral_tokens(
    base: Base, *, sequences: int = SEQUENCES, length: int = LENGTH, seed: int = SEED
) -> Int32[Tensor, "sequences length"]:
    """Texts drawn from the base at temperature one, each from the token that begins a text.

    Equal on one machine; elsewhere rounding may draw other tokens, so what was drawn is kept in the store.
    """
    draw = torch.Generator().manual_seed(seed)
    cache = DynamicCache(config=base.model.config)
    column = torch.full((sequences, 1), _beginning(base), device=base.device)
    columns = [column]
    for _ in range(min(length, base.spec.context) - 1):
        logits = base.model(input_ids=column, past_key_values=cache, use_cache=True).logits[:, -1]
        drawn = torch.multinomial(logits.float().softmax(-1).cpu(), 1, generator=draw)
        column = drawn.to(base.device)
        columns.append(column)
    return torch.cat(columns, dim=1).to(device="cpu", dtype=torch.int32)


def _beginning(base: Base) -> int:
    """The token that begins a text; any base has at least one that ends it."""
    tokenizer = base.tokenizer
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0
