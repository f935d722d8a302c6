"""What a request says of tools: who of them may be called, who must, and how a base writes that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llguidance import LLMatcher

from routing import chat
from routing.routed import RoutedModel
from workers.serving.bodies import AllowedToolChoice, ChatBody, NamedTool, Tool
from workers.serving.call_grammars import calls_alone, calls_or, marks_of, text_with_calls
from workers.serving.errors import invalid
from workers.serving.formats import form_of
from workers.serving.guides import Grammar, Guides
from workers.serving.tool_calls import CLOSE, CallReader


def offered(body: ChatBody, tokenizer: Any) -> Sequence[Tool]:
    """The tools that the base is told of; ApiError if its chat template has no place for any."""
    names = [tool.function.name for tool in body.tools or ()]
    if len(set(names)) != len(names):
        raise invalid("tools", "found one name twice")
    if not names and body.tool_choice not in (None, "none"):
        raise invalid("tool_choice", "there are no tools to choose from; give `tools`")
    for name in _chosen(body) or ():
        if name not in names:
            raise invalid("tool_choice", f"found {name!r}, expected one of {', '.join(names)}")
    if not names or body.tool_choice == "none":
        return ()
    if not chat.knows_tools(tokenizer):
        raise invalid("tools", "the chat template of this base has no place for tools; leave them out")
    if body.structured_outputs is not None:
        raise invalid("structured_outputs", "and `tools` both say what an answer looks like; leave one out")
    return body.tools or () if isinstance(body.tool_choice, NamedTool) else _callable(body)


def reader_of(body: ChatBody) -> CallReader | None:
    """What finds calls in an answer; None if none is expected."""
    if not body.tools or body.tool_choice == "none":
        return None
    callable_ = _callable(body)
    return CallReader(
        [tool.function.name for tool in callable_],
        held=[tool.function.name for tool in callable_ if tool.function.strict],
        single=bool(ends_of(body)),
        marked=_formed(body),
    )


def ends_of(body: ChatBody) -> tuple[str, ...]:
    """What ends an answer that may be a call, and hold no second one: the mark behind the first."""
    free = bool(body.tools) and body.tool_choice != "none" and not _must_call(body)
    return (CLOSE,) if free and body.parallel_tool_calls is False else ()


def held_calls(body: ChatBody, model: RoutedModel, guides: Guides) -> Grammar | None:
    """The form of an answer that must be a call, or may be one and is held to something; None if it may not.

    A call that must be is the whole answer, so that there is none for a `response_format` to form.
    """
    tools = _callable(body)
    if not tools or body.tool_choice == "none":
        return None
    must, form = _must_call(body), None if _must_call(body) else form_of(body)
    if not must and form is None and not any(tool.function.strict for tool in tools):
        return None
    marks = marks_of(model.base.tokenizer, guides.vocabulary(model, "tools"))
    if not must and form is None:
        return Grammar(LLMatcher.grammar_from_lark(text_with_calls(tools, marks)), "tools", spoken=True)
    marked = chat.marks_calls(model.base.tokenizer)
    several = not isinstance(body.tool_choice, NamedTool) and body.parallel_tool_calls is not False
    lark = calls_alone(tools, marks if marked else None, several=several)
    calls = Grammar(LLMatcher.grammar_from_lark(lark), "tools")
    if form is None:
        return calls
    if not marked or marks.silent:
        raise invalid(
            "response_format",
            "this base does not mark calls, so that none could be told from an answer in this form; leave out"
            ' this or `tools`, or say `tool_choice: "none"` or `"required"`',
        )
    for part in (form, calls):
        guides.require(part, model)
    return Grammar(calls_or(lark, form.text), form.param)


def _must_call(body: ChatBody) -> bool:
    choice = body.tool_choice
    if isinstance(choice, AllowedToolChoice):
        return choice.allowed_tools.mode == "required"
    return choice == "required" or isinstance(choice, NamedTool)


def _formed(body: ChatBody) -> bool:
    """Whether what is no call has a form."""
    return body.response_format is not None and body.response_format.type != "text" and not _must_call(body)


def _chosen(body: ChatBody) -> list[str] | None:
    """The names that `tool_choice` has; None if it leaves all tools as they are."""
    choice = body.tool_choice
    if isinstance(choice, NamedTool):
        return [choice.function.name]
    if isinstance(choice, AllowedToolChoice):
        return [tool.function.name for tool in choice.allowed_tools.tools]
    return None


def _callable(body: ChatBody) -> list[Tool]:
    """The tools of the request that may be called."""
    chosen = _chosen(body)
    return [tool for tool in body.tools or () if chosen is None or tool.function.name in chosen]
