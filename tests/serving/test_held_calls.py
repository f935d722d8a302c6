"""Calls of strict functions are valid under their schemas wherever in an answer a model makes them."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator
from llguidance import LLMatcher, LLTokenizer
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from routing import generation
from routing.base import Base, load_base
from routing.sampling import draw
from tests.serving.live import LiveServer
from tests.serving.test_tools import ASKED, MARKED, STOP, WEATHER
from tests.serving.test_vocabulary import byte_fallback
from tests.tiny import tiny_llama, tiny_tokenizer
from workers.serving.bodies import Tool
from workers.serving.call_grammars import Marks, calls_alone, marks_of, text_with_calls
from workers.serving.followers import Follower, Known, TextFollower
from workers.serving.guides import LIMITS
from workers.serving.tool_calls import CLOSE, OPEN, CallReader
from workers.serving.vocabulary import read_vocabulary

SCHEMA = WEATHER["function"]["parameters"]  # type: ignore[index]
STRICT = {"type": "function", "function": {**WEATHER["function"], "strict": True}}  # type: ignore[dict-item]
TOOLS = [Tool.model_validate(STRICT), Tool.model_validate(STOP)]
BAD = '{"name": "weather", "arguments": {"place": "Oslo", "rain": true}}'
GOOD = '{"name": "weather", "parameters": {"place": "Bergen", "days": 3}}'
FREE = '{"name":"stop","arguments":{"now":true}}'
SNIPPETS = [
    "I look. ",
    " <tool_call>\n",
    "<tool",
    "</tool_call>",
    BAD,
    f"{OPEN}{BAD}{CLOSE}",
    '{"arguments": {"place": 1}, "name": "weather"}',
    '{ "name" : "weather"',
    '{"name": "stop", "arguments": {"x": 1}}',
    '{"answer": "Århus"} ' + "so " * 99,
    "\n",
    "{",
]


def _added(*, silent: bool = False, marks: bool = True) -> PreTrainedTokenizerFast:
    """With tokens that are no text to a grammar, as Qwen's marks and what no answer shows."""
    tokenizer = copy.deepcopy(tiny_tokenizer())
    if marks:
        tokenizer.add_tokens([AddedToken(mark, special=silent, normalized=False) for mark in (OPEN, CLOSE)])
    tokenizer.add_tokens([AddedToken("<|quiet|>", special=True), AddedToken("<think>", special=False)])
    return tokenizer


VOCABULARIES: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "plain": tiny_tokenizer,
    "byte fallback": byte_fallback,
    "tokens that are no text": lambda: _added(marks=False),
    "marks of their own": _added,
    "silent marks": lambda: _added(silent=True),
}


@pytest.fixture(params=VOCABULARIES)
def base(request: pytest.FixtureRequest) -> Base:
    tokenizer, base = VOCABULARIES[request.param](), load_base(tiny_llama())
    return replace(base, tokenizer=tokenizer, spec=replace(base.spec, vocabulary=len(tokenizer)))


@pytest.fixture
def words(base: Base) -> LLTokenizer:
    return read_vocabulary(base, [base.tokenizer.eos_token_id])


def matcher_of(lark: str, words: LLTokenizer) -> LLMatcher:
    matcher = LLMatcher(words, LLMatcher.grammar_from_lark(lark), limits=LIMITS)
    assert not matcher.get_error()
    return matcher


def wishes(base: Base, chance: random.Random) -> Iterator[int]:
    """Tokens that a model might want to write: snippets, and tokens that are no text."""
    apart = [token for token in base.tokenizer.added_tokens_decoder if token != base.tokenizer.eos_token_id]
    while True:
        if chance.random() < 0.2:
            yield chance.choice(apart)
        else:
            yield from base.tokenizer(chance.choice(SNIPPETS), add_special_tokens=False)["input_ids"]


def walked(base: Base, words: LLTokenizer, matcher: LLMatcher, seed: int) -> list[int]:
    """What a model writes that wants something else than it may now and then."""
    chance, end, known = random.Random(seed), base.tokenizer.eos_token_id, Known()
    size = base.spec.vocabulary
    guide = TextFollower(matcher.deep_copy(), size, [end], words=words, known=known)
    exact = Follower(matcher.deep_copy(), size, [end])
    wanted, said = wishes(base, chance), list[int]()
    while len(said) < 150 and not guide.complete:
        allowed = guide.allowed()
        assert torch.equal(allowed, exact.allowed())
        token = next(wanted)
        if not allowed[token]:
            token = chance.choice(allowed.nonzero().flatten().tolist())
        if token == end:
            break
        said.append(token)
        guide.hear(token)
        exact.hear(token)
    return said


def read(base: Base, said: list[int]) -> tuple[str, CallReader]:
    text = base.tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    reader = CallReader(["weather", "stop"], held=["weather"])
    return reader.push(text, last=True)[0], reader


def test_whatever_a_model_wants_to_say_its_strict_calls_are_valid(base: Base, words: LLTokenizer) -> None:
    matcher = matcher_of(text_with_calls(TOOLS, marks_of(base.tokenizer, words)), words)
    found = []

    for seed in range(60):
        _, reader = read(base, walked(base, words, matcher, seed))
        found += [json.loads(call.arguments) for call in reader.calls if call.name == "weather"]

    for arguments in found:
        Draft202012Validator(SCHEMA).validate(arguments)
    assert len(found) > 3


@pytest.mark.parametrize(
    ("text", "said", "names"),
    [
        ("It rains. <b>so</b> <tool", "It rains. <b>so</b> <tool", []),
        ('{"answer": 42}', '{"answer": 42}', []),
        (
            f"I look.\n{OPEN}\n{GOOD}\n{CLOSE}\n{OPEN}{FREE}{CLOSE}",
            "I look.",
            ["weather", "stop"],
        ),
        (GOOD, "", ["weather"]),
        (f"{OPEN}{{}}{CLOSE}", f"{OPEN}{{}}{CLOSE}", []),
    ],
)
def test_what_keeps_to_the_schemas_goes_through_as_the_model_writes_it(
    base: Base, words: LLTokenizer, text: str, said: str, names: list[str]
) -> None:
    marks = marks_of(base.tokenizer, words)
    guide = Follower(matcher_of(text_with_calls(TOOLS, marks), words), base.spec.vocabulary, [])
    tokens = base.tokenizer(text, add_special_tokens=False)["input_ids"]

    for token in tokens:
        guide.hear(token)

    rest, reader = read(base, tokens)
    if not marks.silent:
        assert (rest.strip(), [call.name for call in reader.calls]) == (said, names)


@pytest.mark.parametrize("several", [False, True])
def test_calls_that_must_be_are_written_with_the_vocabularys_own_marks(
    base: Base, words: LLTokenizer, *, several: bool
) -> None:
    marks = marks_of(base.tokenizer, words)
    matcher = matcher_of(calls_alone(TOOLS, marks, several=several), words)
    counts = set[int]()

    for seed in range(20):
        rest, reader = read(base, walked(base, words, matcher, seed))
        if CLOSE not in rest and "{" not in rest:
            counts.add(len(reader.calls))

    assert max(counts) == 1 if marks.silent or not several else max(counts) > 1


def test_marks_of_their_own_are_told_from_letters_and_from_silent_ones() -> None:
    def found(tokenizer: PreTrainedTokenizerFast) -> Marks:
        base = replace(load_base(tiny_llama()), tokenizer=tokenizer)
        return marks_of(tokenizer, read_vocabulary(base, [tokenizer.eos_token_id]))

    assert found(tiny_tokenizer()).opening is None
    own, silent = found(_added()), found(_added(silent=True))
    assert own.opening == silent.opening == _added().convert_tokens_to_ids(OPEN)
    assert not own.silent
    assert silent.silent


@pytest.fixture
def scripted(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has a model that marks calls write this, as far as it may."""
    model = live.server.libraries["tales"].model
    assert model is not None
    tokenizer = model.base.tokenizer
    monkeypatch.setattr(tokenizer, "chat_template", MARKED)

    def script(text: str) -> None:
        wanted = iter([*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id])

        def written(logits: Any, sampling: Any, chance: Any, allowed: Any) -> int:
            token = next(wanted, tokenizer.eos_token_id)
            return token if allowed is None or allowed[token] else draw(logits, sampling, chance, allowed)

        monkeypatch.setattr(generation, "draw", written)

    return script


@pytest.mark.parametrize("streamed", [False, True])
def test_a_strict_call_of_the_models_own_choice_is_held_to_its_schema(
    live: LiveServer, scripted: Callable[[str], None], *, streamed: bool
) -> None:
    def ask(tool: Any) -> tuple[str, list[Any]]:
        scripted(f"I look.\n{OPEN}\n{BAD}\n{CLOSE}")
        asked = {**ASKED, "max_tokens": 150, "tools": [tool], "stream": streamed}
        answer = live.client().chat.completions.create(**asked)
        choices = [part.choices[0] for part in answer] if streamed else answer.choices
        messages = [choice.delta if streamed else choice.message for choice in choices]
        calls = [call for message in messages for call in message.tool_calls or []]
        assert choices[-1].finish_reason == ("tool_calls" if calls else "length")
        return "".join(message.content or "" for message in messages), [
            json.loads(call.function.arguments) for call in calls
        ]

    assert ask(WEATHER) == ("I look.", [{"place": "Oslo", "rain": True}])
    said, calls = ask(STRICT)
    assert said.startswith("I look.")
    assert "Oslo" not in said
    for arguments in calls:
        Draft202012Validator(SCHEMA).validate(arguments)


def test_what_is_no_call_is_said_as_without_strict_functions(
    live: LiveServer, scripted: Callable[[str], None]
) -> None:
    text = 'It rains: {"days": 3} < 4. Århus too.'

    for tool in (WEATHER, STRICT):
        scripted(text)
        choice = live.client().chat.completions.create(**ASKED, tools=[tool]).choices[0]
        assert (choice.message.content, choice.finish_reason) == (text, "stop")


FORM = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "schema": {
            "type": "object",
            "properties": {"name": {"enum": ["weather"]}, "arguments": {"type": "object"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("wanted", "choice", "called"),
    [
        ('{"name": "weather", "arguments": {}}', "auto", False),
        ('{"name": "weather", "arguments": {}}', "none", False),
        (f"{OPEN}\n{BAD}\n{CLOSE}", "none", False),
        (f'{OPEN}\n{{"name": "stop", "arguments": {{}}}}\n{CLOSE}', "auto", True),
        (f'{OPEN}\n{{"name": "stop", "arguments": {{"x": 1}}}}\n{CLOSE}', "required", True),
    ],
)
def test_an_answer_is_a_call_or_has_its_form(
    live: LiveServer,
    scripted: Callable[[str], None],
    wanted: str,
    choice: str,
    *,
    called: bool,
    streamed: bool,
) -> None:
    scripted(wanted)

    answer = live.client().chat.completions.create(
        **{**ASKED, "max_tokens": 150},
        tools=[STRICT, STOP],
        tool_choice=choice,
        parallel_tool_calls=False,
        response_format=FORM,
        stream=streamed,
    )

    choices = [part.choices[0] for part in answer] if streamed else answer.choices
    messages = [choice.delta if streamed else choice.message for choice in choices]
    calls = [call.function for message in messages for call in message.tool_calls or []]
    text = "".join(message.content or "" for message in messages)
    if called:
        assert [(call.name, call.arguments) for call in calls] == [("stop", "{}")]
        assert (text, choices[-1].finish_reason) == ("", "tool_calls")
    else:
        assert not calls
        assert text.startswith("{")
        assert choices[-1].finish_reason in ("stop", "length")


@pytest.mark.parametrize("template", [MARKED, MARKED.replace("<tool_call>", "").replace("</tool_call>", "")])
def test_what_is_wrong_with_tools_or_a_form_beside_them_is_said_by_field(
    live: LiveServer, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = live.server.libraries["tales"].model
    assert model is not None
    monkeypatch.setattr(model.base.tokenizer, "chat_template", template)
    unique: Any = {"type": "array", "uniqueItems": True}
    wrong: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": unique, "strict": True}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "strin"}}}

    def blamed(**more: Any) -> str:
        refused = live.post("/v1/chat/completions", **ASKED, **more)
        assert refused.status_code == 400
        return str(refused.json()["error"]["param"])

    if "<tool_call>" not in template:  # no call could be told from an answer
        assert blamed(tools=[STOP], response_format={"type": "json_object"}) == "response_format"
    else:
        assert blamed(tools=[tool], response_format={"type": "json_object"}) == "tools"
        assert blamed(tools=[STOP], response_format=wrong) == "response_format.json_schema.schema"
    assert blamed(tools=[STOP], structured_outputs={"choice": ["a"]}) == "structured_outputs"


@pytest.mark.usefixtures("scripted")
def test_a_strict_function_whose_schema_cannot_be_kept_is_refused(live: LiveServer) -> None:
    parameters = {"type": "object", "properties": {"x": {"type": "array", "uniqueItems": True}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters, "strict": True}}

    refused = [
        live.post("/v1/chat/completions", **ASKED, tools=[tool], tool_choice=choice)
        for choice in ("auto", "required")
    ]

    for one in refused:
        error = one.json()["error"]
        assert (one.status_code, error["param"]) == (400, "tools")
        assert "uniqueItems" in error["message"]


@pytest.mark.usefixtures("scripted")
def test_what_cannot_be_kept_of_a_function_that_is_not_strict_is_left_out_and_told(live: LiveServer) -> None:
    items = {"type": "array", "items": {"type": "boolean"}, "maxItems": 2, "uniqueItems": True}
    schema = {
        "type": "object",
        "properties": {"x": items},
        "required": ["x"],
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}

    answer = live.client().chat.completions.create(**ASKED, tools=[tool], tool_choice="required")

    assert "uniqueItems" in answer.fletch["not_kept"][0]
    for call in answer.choices[0].message.tool_calls or []:
        assert set(json.loads(call.function.arguments)) == {"x"}
