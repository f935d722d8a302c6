"""Conversations as a base reads them: by its chat template, or a plain one where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from routing.checks.samples import Turn
from routing.errors import RoutingError

# Without a template nothing marks the end of a turn, so the next turn's mark is where an answer ends.
PLAIN_STOPS = ("\nuser:", "\nsystem:", "\nassistant:")


class BadConversation(RoutingError):
    """The base's chat template refuses this conversation; the message says why."""


def chat_prompt(tokenizer: Any, turns: Sequence[Turn]) -> list[int]:
    """The tokens of a conversation up to where the assistant's answer begins; BadConversation."""
    if tokenizer.chat_template is None:
        return list(tokenizer(plain_prompt(turns))["input_ids"])
    return list(
        tokenizer(_rendered(tokenizer, turns, open_ended=True), add_special_tokens=False)["input_ids"]
    )


def chat_answer(tokenizer: Any, turns: Sequence[Turn], answer: str) -> list[int]:
    """The tokens of the assistant's answer, with what ends its turn; BadConversation.

    The template is asked for the whole conversation, of which the prompt must be the beginning.
    """
    if tokenizer.chat_template is None:
        return list(tokenizer(f" {answer}\n", add_special_tokens=False)["input_ids"])
    prompt = _rendered(tokenizer, turns, open_ended=True)
    whole = _rendered(tokenizer, [*turns, Turn("assistant", answer)], open_ended=False)
    if not whole.startswith(prompt):
        raise BadConversation("the base's chat template writes an answered question unlike an open one")
    return list(tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"])


def plain_prompt(turns: Sequence[Turn]) -> str:
    """`role: content`, a line for each turn."""
    return "".join([*(f"{turn.role}: {turn.content}\n" for turn in turns), "assistant:"])


def chat_stops(tokenizer: Any) -> tuple[str, ...]:
    """What ends an answer besides the end token."""
    return PLAIN_STOPS if tokenizer.chat_template is None else ()


def _rendered(tokenizer: Any, turns: Sequence[Turn], *, open_ended: bool) -> str:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=open_ended))
    except TemplateError as error:
        raise BadConversation(f"the base's chat template refuses them: {error}") from error
