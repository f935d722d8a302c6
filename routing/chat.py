"""Conversations as a base reads them: by its chat template, or a plain one where it has none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jinja2 import TemplateError

from routing.checks.samples import Turn
from routing.errors import RoutingError

# Without a template nothing marks the end of a turn, so the next turn's mark is where an answer ends.
PLAIN_STOPS = ("\nuser:", "\nsystem:", "\nassistant:")
MARKED = re.compile(r"Mark([0-9]+)kraM")
NO_WISHES: Mapping[str, str] = MappingProxyType({})


class BadConversation(RoutingError):
    """The base's chat template refuses this conversation; the message says why."""


def chat_prompt(tokenizer: Any, turns: Sequence[Turn]) -> list[int]:
    """The tokens of a conversation up to where the assistant's answer begins; BadConversation."""
    if tokenizer.chat_template is None:
        return list(tokenizer(plain_prompt(turns))["input_ids"])
    return tool_prompt(tokenizer, _messages(turns))


def tool_prompt(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    wishes: Mapping[str, str] = NO_WISHES,
) -> list[int]:
    """`chat_prompt` by a template, of messages and tools as OpenAI's API writes them; BadConversation.

    `wishes` are variables for it by name, which most templates do not read.
    """
    text = _rendered(tokenizer, messages, tools, wishes, open_ended=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def left_out(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    wishes: Mapping[str, str] = NO_WISHES,
) -> list[int]:
    """The places of messages of which the template leaves no trace: a model would answer as if unsaid.

    What an assistant says beside a call may go: templates of Llama and Mistral write the call alone.
    """
    marked = [_marked(message, _mark(place)) for place, message in enumerate(messages)]
    try:
        text = _rendered(tokenizer, marked, tools, wishes, open_ended=True)
    except BadConversation:  # it reads contents, and refuses these
        return []
    found = set(MARKED.findall(text))  # one search for all: there may be thousands
    said = (
        place for place, message in enumerate(messages) if message["content"] or message.get("tool_calls")
    )
    return [place for place in said if str(place) not in found]


def _mark(place: int) -> str:
    """A word that no template writes, escapes or cuts; `MARKED` finds it."""
    return f"Mark{place}kraM"


def _marked(message: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """The message with a mark for what it says: its calls, or else its content."""
    if not message.get("tool_calls"):
        return {**message, "content": mark if message["content"] else message["content"]}
    calls = [{**call, "function": {**call["function"], "name": mark}} for call in message["tool_calls"]]
    return {**message, "tool_calls": calls}


def knows_tools(tokenizer: Any) -> bool:
    """Whether the base's chat template has a place for tools and their calls."""
    return names(tokenizer, "tools")


def names(tokenizer: Any, word: str) -> bool:
    """Whether the base's chat template has this word: a role, or a variable that it reads."""
    return re.search(rf"\b{re.escape(word)}\b", _template(tokenizer)) is not None


def marks_calls(tokenizer: Any) -> bool:
    """Whether the base is told to write a call as JSON between `<tool_call>` and `</tool_call>`."""
    template = _template(tokenizer)
    return "<tool_call>" in template and "<function=" not in template  # in which a call is no JSON


def _template(tokenizer: Any) -> str:
    """The text of the template; of several the one for tools, if there is one."""
    found = tokenizer.chat_template or ""
    return str(found.get("tool_use", found.get("default", "")) if isinstance(found, dict) else found)


def chat_answer(tokenizer: Any, turns: Sequence[Turn], answer: str) -> list[int]:
    """The tokens of the assistant's answer, with what ends its turn; BadConversation.

    The template is asked for the whole conversation, of which the prompt must be the beginning.
    """
    if tokenizer.chat_template is None:
        return list(tokenizer(f" {answer}\n", add_special_tokens=False)["input_ids"])
    prompt = _rendered(tokenizer, _messages(turns), open_ended=True)
    whole = _rendered(tokenizer, _messages([*turns, Turn("assistant", answer)]), open_ended=False)
    if not whole.startswith(prompt):
        raise BadConversation("the base's chat template writes an answered question unlike an open one")
    return list(tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"])


def plain_prompt(turns: Sequence[Turn]) -> str:
    """`role: content`, a line for each turn."""
    return "".join([*(f"{turn.role}: {turn.content}\n" for turn in turns), "assistant:"])


def chat_stops(tokenizer: Any) -> tuple[str, ...]:
    """What ends an answer besides the end token."""
    return PLAIN_STOPS if tokenizer.chat_template is None else ()


def _messages(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def _rendered(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    wishes: Mapping[str, str] = NO_WISHES,
    *,
    open_ended: bool,
) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                list(messages),
                tools=list(tools) or None,
                tokenize=False,
                add_generation_prompt=open_ended,
                **wishes,
            )
        )
    except (TemplateError, TypeError) as error:  # a TypeError is jinja's for a field that is not there
        raise BadConversation(f"the base's chat template refuses them: {error}") from error
