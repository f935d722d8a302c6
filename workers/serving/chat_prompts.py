"""From a conversation to a prompt: the base's chat template, or a plain one where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from workers.serving.bodies import Message
from workers.serving.errors import invalid

# Without a template nothing marks the end of a turn, so the next turn's mark is where an answer ends.
PLAIN_STOPS = ("\nuser:", "\nsystem:", "\nassistant:")


def chat_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The tokens of a conversation up to where the assistant's answer begins."""
    if tokenizer.chat_template is None:
        return list(tokenizer(plain_prompt(messages))["input_ids"])
    turns = [{"role": message.role, "content": message.text} for message in messages]
    try:
        prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise invalid("messages", f"the base's chat template refuses them: {error}") from error
    return list(tokenizer(prompt, add_special_tokens=False)["input_ids"])


def plain_prompt(messages: Sequence[Message]) -> str:
    """`role: content`, a line for each turn."""
    turns = [f"{message.role}: {message.text}\n" for message in messages]
    return "".join([*turns, "assistant:"])


def chat_stops(tokenizer: Any) -> tuple[str, ...]:
    """What ends an answer besides the end token."""
    return PLAIN_STOPS if tokenizer.chat_template is None else ()
