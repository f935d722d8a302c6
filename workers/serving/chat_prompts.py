"""From a conversation to a prompt: what `routing.chat` makes of it, and OpenAI's error where it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from routing import chat
from routing.checks.samples import Turn
from workers.serving.bodies import Message
from workers.serving.errors import invalid


def chat_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The tokens of a conversation up to where the assistant's answer begins."""
    try:
        return chat.chat_prompt(tokenizer, [Turn(message.role, message.text) for message in messages])
    except chat.BadConversation as error:
        raise invalid("messages", str(error)) from error
