"""Grammars of answers that call tools, in llguidance's notation.

Each tool's arguments are a document of their own, so that `$ref` in their schema means what it says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llguidance import LLTokenizer

from workers.serving.bodies import Tool
from workers.serving.formats import LENIENT, OPTIONS
from workers.serving.tool_calls import BEGUN, BLANK, CLOSE, NAME, OPEN, PARTS, beginnings

NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
ANYTHING: dict[str, Any] = {"type": "object"}


@dataclass(frozen=True)
class Marks:
    """How a vocabulary writes the marks around a call: letter by letter, or by tokens of their own.

    `apart` are the tokens that are no text to a grammar, these among them. Silent marks leave no text in an
    answer either, so that nobody could tell a second call from the first.
    """

    opening: int | None
    closing: int | None
    silent: bool
    apart: tuple[int, ...]


def marks_of(tokenizer: Any, vocabulary: LLTokenizer) -> Marks:
    """The marks in the vocabulary of a fast tokenizer."""
    added = {
        token: word
        for token, word in tokenizer.added_tokens_decoder.items()
        if vocabulary.is_special_token(token)
    }
    found = {word.content: token for token, word in added.items()}
    opening = found.get(OPEN)
    silent = opening is not None and added[opening].special
    return Marks(opening, found.get(CLOSE), silent, tuple(sorted(added)))


def calls_alone(tools: Sequence[Tool], marks: Marks | None, *, several: bool) -> str:
    """One call, or `several` where marks part them; without marks it is nothing but JSON."""
    call, more = "body", ""
    if marks is not None:
        opening, closing = _written(OPEN, marks.opening), _written(CLOSE, marks.closing)
        call = f"{opening} NEWLINE body NEWLINE {closing}"
        more = " (NEWLINE call)*" if several and not marks.silent else ""
    rules = [
        f"start: call{more}",
        f"call: {call}",
        "body: " + " | ".join(f"tool_{place}" for place in range(len(tools))),
        'NEWLINE: "\\n"',
    ]
    for place, tool in enumerate(tools):
        before = json.dumps(f'{{"name": {json.dumps(tool.function.name)}, "arguments": ')
        rules.append(f'tool_{place}: {before} arguments_{place} "}}"')
        rules.append(_arguments(place, _schema(tool), OPTIONS if tool.function.strict else LENIENT))
    return "\n".join(rules)


def calls_or(calls: str, form: str) -> str:
    """Both in one: what `calls_alone` says of calls, or one answer in a form that is a grammar of its own."""
    (written,) = json.loads(form)["grammars"]
    either = calls.replace("start: ", "start: @form | ", 1)
    return json.dumps({"grammars": [{"lark_grammar": either}, {**written, "name": "form"}]})


def text_with_calls(tools: Sequence[Tool], marks: Marks) -> str:
    """Whatever a model says, in which calls are held to schemas where their functions are strict.

    A call begins with its name, behind a mark, or as all that is said where its function is strict. Behind a
    mark it must be a tool's then; functions that are not strict may have any arguments. The lazy rules end as
    soon as they can, which is before text could go on over them. What is no text stands between texts, and
    never where it could part the beginning of a call.
    """
    strict = [place for place, tool in enumerate(tools) if tool.function.strict]
    rules = [
        f"start: lead ({_either('bare', strict)}) | part* TEXT?",
        f"call: opened ({_either('named', range(len(tools)))}) close",
        rf"BLANK: /{BLANK}/ & /(?s:.+)/",
        "TEXT: /(?s:.+)/",
        f"marked[lazy]: /(?s:.*){OPEN}{BEGUN}/",
        rf'KEY: /{BLANK},{BLANK}"(arguments|parameters)"{BLANK}:{BLANK}/',
        rf"END: /{BLANK}\}}/",
        *_apart(marks),
    ]
    for place, tool in enumerate(tools):
        name = json.dumps(f'{tool.function.name}"')
        rules.append(f"named_{place}: {name} rest_{place}")
        rules.append(f"rest_{place}: KEY arguments_{place} END")
        rules.append(_arguments(place, _schema(tool) if tool.function.strict else ANYTHING))
    for place in strict:
        rules.append(f'head_{place}[lazy]: /{BEGUN}{_letters(tools[place].function.name)}"/')
        rules.append(f"bare_{place}: head_{place} rest_{place}")
    return "\n".join(rules)


def _apart(marks: Marks) -> list[str]:
    """The rules for tokens that are no text."""
    close = f"close: BLANK? {json.dumps(CLOSE)}"
    if not marks.apart:
        return ["lead:", "part: call", "opened: marked", close]
    # Apart from each other, since llguidance passes over one of two lists that share a token.
    own = [(token,) for token in (marks.opening, marks.closing) if token is not None]
    others = tuple(token for token in marks.apart if (token,) not in own)
    call = beginnings((*PARTS, NAME))
    parted = [f"(?s:.*){OPEN[0]}{beginnings(OPEN[1:])}", f"(?s:.*){OPEN}{call}", call]
    rules = [
        "lead: (BLANK? apart)*",
        "part: call | (BEFORE | BLANK)? apart",
        "apart: " + " | ".join(_token(*some) for some in (others, *own) if some),
        "BEFORE: /(?s:.+)/ & " + " & ".join(f"~/{one}/" for one in parted),
    ]
    if marks.opening is None or marks.silent:
        return [*rules, "opened: marked", close]
    rules += [
        f"opened: marked | (BEFORE | BLANK)? {_token(marks.opening)} lead begun",
        f"begun[lazy]: /{BEGUN}/",
    ]
    return [*rules, close if marks.closing is None else f"{close} | BLANK? {_token(marks.closing)}"]


def _written(mark: str, token: int | None) -> str:
    return json.dumps(mark) if token is None else _token(token)


def _token(*either: int) -> str:
    return f"<[{','.join(map(str, either))}]>"


def _either(rule: str, places: Sequence[int]) -> str:
    return " | ".join(f"{rule}_{place}" for place in places)


def _letters(name: str) -> str:
    """A tool's name in an expression."""
    return name.replace(".", r"\.")


def _schema(tool: Tool) -> dict[str, Any]:
    return NOTHING if tool.function.parameters is None else tool.function.parameters


def _arguments(place: int, schema: dict[str, Any], options: dict[str, Any] = OPTIONS) -> str:
    return f"arguments_{place}: %json {json.dumps({**schema, 'x-guidance': options})}"
