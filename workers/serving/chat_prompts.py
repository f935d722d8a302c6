"""From a conversation to a prompt: what `routing.chat` makes of it, and OpenAI's error where it refuses."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from routing import chat
from routing.checks.samples import Turn
from workers.serving.bodies import Message, Tool, ToolCall
from workers.serving.errors import ApiError, invalid


def chat_prompt(
    tokenizer: Any,
    messages: Sequence[Message],
    tools: Sequence[Tool],
    wishes: Mapping[str, str] = chat.NO_WISHES,
) -> list[int]:
    """The tokens of a conversation up to where the assistant's answer begins; ApiError.

    `wishes` are variables for the base's chat template.
    """
    if any(message.tool_calls for message in messages) and not chat.knows_tools(tokenizer):
        raise invalid("messages", "the chat template of this base has no place for `tool_calls`")
    system = {"system"} if chat.names(tokenizer, "developer") else {"system", "developer"}
    written: list[Mapping[str, Any]] = [_message(message, system) for message in messages]
    told = [tool.model_dump(exclude_none=True) for tool in tools]
    try:
        if tokenizer.chat_template is None:
            return chat.chat_prompt(tokenizer, [Turn(one["role"], one["content"]) for one in written])
        if lost := chat.left_out(tokenizer, written, told, wishes):
            written = _said_by_users(written, frozenset(lost))
            if chat.left_out(tokenizer, written, told, wishes):
                raise _unread(messages, lost[0])
        return chat.tool_prompt(tokenizer, written, told, wishes)
    except chat.BadConversation as error:
        raise invalid("messages", str(error)) from error


def _said_by_users(written: Sequence[Mapping[str, Any]], lost: frozenset[int]) -> list[Mapping[str, Any]]:
    """What the system said and the template leaves out, before what the next user says: Mistral's and Gemma's
    templates do so themselves, Mistral's only while nobody has answered a call.
    """
    kept: list[Mapping[str, Any]] = []
    system: list[str] = []
    for place, message in enumerate(written):
        if place in lost and message["role"] == "system":
            system.append(message["content"])
        elif message["role"] == "user":
            kept.append({**message, "content": "\n\n".join([*system, message["content"]])})
            system = []
        else:
            kept.append(message)
    return list(written) if system else kept


def _unread(messages: Sequence[Message], place: int) -> ApiError:
    """That nobody would hear this."""
    found = f"found the role {messages[place].role!r} in message {place}"
    remedy = "expected it at another place, or what it says in a message of another role"
    return invalid("messages", f"{found}, which the chat template of this base leaves out; {remedy}")


def _message(message: Message, system: Collection[str]) -> dict[str, Any]:
    """As templates expect it: what is not there is left out, and arguments are an object.

    `system` are the roles that are one for the template: `developer` is OpenAI's later word for it, which
    templates write as any name, or pass over.
    """
    text = message.text
    if text is None and not message.tool_calls:
        raise ApiError(
            400,
            "messages.content: Field required",
            code="missing_required_parameter",
            param="messages.content",
        )
    role = "system" if message.role in system else message.role
    written: dict[str, Any] = {"role": role, "content": text}
    if message.tool_calls:
        written["tool_calls"] = [_call(call) for call in message.tool_calls]
    for field in ("name", "tool_call_id"):
        if (value := getattr(message, field)) is not None:
            written[field] = value
    return written


def _call(call: ToolCall) -> dict[str, Any]:
    name, arguments = call.function.name, call.function.arguments
    try:
        found = json.loads(arguments or "{}")
    except (ValueError, RecursionError) as error:
        raise invalid("messages.tool_calls", f"the arguments of {name} are no JSON: {error}") from error
    return {"id": call.id, "type": "function", "function": {"name": name, "arguments": found}}
