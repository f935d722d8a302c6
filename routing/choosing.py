"""The base as its own router: which expert's description does it find likelier because of this prompt?

Language models that are asked to choose a tool are shown the prompt and the tools' descriptions. A base that
follows no instructions can be asked the same by likelihood: it continues the prompt with each description,
and what the prompt adds to the description's likelihood, per token, is the score.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from routing.base import Base
from routing.encoding import padded

BETWEEN = "\n\n"
NOBODY = "nothing in particular"
AT_ONCE = 16
Tokens = Sequence[int]


@torch.inference_mode()
def gains(base: Base, prompt: Tokens, texts: Sequence[str]) -> Float[Tensor, " texts"]:
    """What the prompt adds to the log-likelihood of each text, in nats for a text of mean length.

    (log p(text | prompt, template) - log p(text | template)) times mean length / length: a text that is
    likely anyhow gains nothing, and a long one no more than a short one.
    """
    said = _tokens(base, texts)
    added = likelihoods(base, _asked(base, prompt), said) - likelihoods(base, _asked(base, ()), said)
    long = lengths(base, texts)
    return added * long.mean() / long


def lengths(base: Base, texts: Sequence[str]) -> Float[Tensor, " texts"]:
    """How many tokens each text has: gains are in nats for a text of the mean of these."""
    return torch.tensor([float(len(text)) for text in _tokens(base, texts)], device=base.device)


def likelihoods(base: Base, before: Tokens, texts: Sequence[Tokens]) -> Float[Tensor, " texts"]:
    """Log p(text | before) of every text, in nats, float32. What does not fit is cut from the beginning."""
    longest = max(len(text) for text in texts)
    room = list(before)[-max(1, base.spec.context - longest) :]
    parts = [texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE)]
    return torch.cat([_summed(base, room, part) for part in parts])


def _summed(base: Base, before: list[int], texts: Sequence[Tokens]) -> Float[Tensor, " texts"]:
    ids, mask = padded([[*before, *text] for text in texts], base.device)
    logits = base.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    first = len(before)
    each = logits[:, first - 1 : -1].float().log_softmax(-1).gather(2, ids[:, first:].unsqueeze(-1))
    return (each.squeeze(-1) * mask[:, first:]).sum(1)


def _tokens(base: Base, texts: Sequence[str]) -> list[list[int]]:
    return [base.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] for text in texts]


def _asked(base: Base, prompt: Tokens) -> list[int]:
    """The prompt and what comes between it and a description; something always comes before that."""
    between = base.tokenizer(BETWEEN, add_special_tokens=False, verbose=False)["input_ids"]
    beginning = base.tokenizer.bos_token_id
    return [*(prompt or ([] if beginning is None else [beginning])), *between]
