"""Sample rows in the base's tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from routing.base import Base
from routing.chat import chat_answer, chat_prompt
from routing.checks.samples import Sample

Row = tuple[Sequence[int], Sequence[int]]  # the tokens of a prompt, and those of what should follow it


def encoded_row(base: Base, sample: Sample) -> Row:
    """Something always comes before what is predicted, if only the token that begins a text.

    Conversations go through the base's chat template; BadConversation if it refuses one.
    """
    if sample.turns:
        answer = chat_answer(base.tokenizer, sample.turns, sample.completion)
        return chat_prompt(base.tokenizer, sample.turns), answer
    prompt = base.tokenizer(sample.prompt, verbose=False).input_ids
    return prompt or [base.tokenizer.bos_token_id or 0], base.family.completion(
        base.tokenizer, sample.completion
    )


def encoded_rows(base: Base, samples: Iterable[Sample]) -> list[Row]:
    """All rows, in order."""
    return [encoded_row(base, sample) for sample in samples]
