"""Tools go to the base through its chat template, and calls come back as OpenAI's clients know them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing import generation
from tests.serving.live import LiveServer
from workers.serving.tool_calls import CallReader

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "What the weather is",
        "parameters": {
            "$defs": {"place": {"enum": ["Bergen", "Århus"]}},
            "type": "object",
            "properties": {
                "place": {"$ref": "#/$defs/place"},
                "days": {"type": "integer", "minimum": 0, "maximum": 9},
            },
            "required": ["place", "days"],
            "additionalProperties": False,
        },
    },
}
STOP = {"type": "function", "function": {"name": "stop"}}
MARKED = """{% if tools %}Tools: {% for tool in tools %}{{ tool.function.name }}{% endfor %} as <tool_call>{% endif %}
{%- for message in messages %}[{{ message.role }}]{{ message.content or "" }}
{%- for call in message.tool_calls or [] %}<tool_call>{{ call.function.name }} {{ call.function.arguments.place }}</tool_call>{% endfor %}
{%- endfor %}[assistant]"""
ASKED: dict[str, Any] = {
    "model": "tales",
    "messages": [{"role": "user", "content": "Rain?"}],
    "max_tokens": 120,
    "seed": 3,
}


CALL = '{"name": "weather", "arguments": {"place": "Bergen"}}'


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


@pytest.fixture
def tokenizer(live: LiveServer) -> Any:
    model = live.server.libraries["tales"].model
    assert model is not None
    return model.base.tokenizer


@pytest.fixture(params=["marked", "plain"])
def client(
    request: pytest.FixtureRequest, live: LiveServer, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    template = (
        MARKED if request.param == "marked" else MARKED.replace("<tool_call>", "").replace("</tool_call>", "")
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    return live.client()


def test_a_named_tool_is_called_with_arguments_of_its_schema(client: Any) -> None:
    choice = client.chat.completions.create(
        **ASKED, tools=[WEATHER, STOP], tool_choice={"type": "function", "function": {"name": "weather"}}
    ).choices[0]

    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls
    assert call.function.name == "weather"
    arguments = json.loads(call.function.arguments)
    assert arguments["place"] in ("Bergen", "Århus")
    assert 0 <= arguments["days"] <= 9


def test_required_calls_come_through_a_stream_as_they_come_whole(client: Any) -> None:
    ask = {**ASKED, "tools": [WEATHER, STOP], "tool_choice": "required", "parallel_tool_calls": False, "n": 2}
    whole = client.chat.completions.create(**ask)

    chunks = list(client.chat.completions.create(**ask, stream=True))

    for choice in whole.choices:
        mine = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == choice.index]
        calls = [call for one in mine for call in one.delta.tool_calls or []]
        assert choice.finish_reason == mine[-1].finish_reason == "tool_calls"
        assert [(call.function.name, call.function.arguments) for call in calls] == [
            (call.function.name, call.function.arguments) for call in choice.message.tool_calls
        ]
        assert [call.index for call in calls] == [0]
        assert not any(one.delta.content for one in mine)


def test_a_call_that_a_stop_string_cuts_is_text(client: Any) -> None:
    choice = client.chat.completions.create(
        **ASKED, tools=[STOP], tool_choice="required", parallel_tool_calls=False, stop='"arg'
    ).choices[0]

    assert choice.message.tool_calls is None
    assert choice.message.content.endswith('{"name": "stop", ')
    assert choice.finish_reason == "stop"


@pytest.mark.parametrize("streamed", [False, True])
def test_of_free_calls_only_the_first_is_written_where_none_may_stand_beside_it(
    live: LiveServer, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, *, streamed: bool
) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", MARKED)
    text = f"I look.\n<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>"
    written = tokenizer(text, add_special_tokens=False)["input_ids"]

    def ask(**more: Any) -> list[Any]:
        said = iter([*written, tokenizer.eos_token_id])
        monkeypatch.setattr(generation, "draw", lambda *_: next(said))
        asked = {**ASKED, "max_tokens": 200, "tools": [WEATHER], "stream": streamed}
        answer = live.client().chat.completions.create(**asked, **more)
        choices = [part.choices[0] for part in answer] if streamed else answer.choices
        assert choices[-1].finish_reason == "tool_calls"
        messages = [choice.delta if streamed else choice.message for choice in choices]
        assert "".join(message.content or "" for message in messages) == "I look."
        return [call.function.arguments for message in messages for call in message.tool_calls or []]

    assert ask(parallel_tool_calls=False) == ['{"place": "Bergen"}']
    assert ask() == ['{"place": "Bergen"}'] * 2


def test_only_allowed_tools_are_told_of_and_called(client: Any, tokenizer: Any) -> None:
    def read(**more: Any) -> int:
        asked = {**ASKED, "max_tokens": 1, "tools": more.pop("tools", [WEATHER, STOP])}
        return client.chat.completions.create(**asked, **more).usage.prompt_tokens

    must = client.chat.completions.create(
        **ASKED, tools=[WEATHER, STOP], tool_choice=allowed("required", "stop"), n=4
    )

    called = {call.function.name for choice in must.choices for call in choice.message.tool_calls or []}
    assert called == {"stop"}
    assert read(tool_choice=allowed("auto", "stop")) == read(tools=[STOP]) < read()


def test_the_template_reads_tools_calls_and_their_answers(client: Any, tokenizer: Any) -> None:
    first = client.chat.completions.create(
        **ASKED, tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "weather"}}
    ).choices[0]
    call = first.message.tool_calls[0]
    messages = [
        *ASKED["messages"],
        first.message,
        {"role": "tool", "tool_call_id": call.id, "content": "It rains."},
    ]

    def read(**more: Any) -> int:
        answer = client.chat.completions.create(model="tales", messages=messages, max_tokens=1, **more)
        return answer.usage.prompt_tokens

    place = json.loads(call.function.arguments)["place"]
    expected = tokenizer.apply_chat_template(
        [
            *ASKED["messages"],
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"type": "function", "function": {"name": "weather", "arguments": {"place": place}}}
                ],
            },
            {"role": "tool", "content": "It rains."},
        ],
        tools=[WEATHER],
        tokenize=False,
    )
    assert read(tools=[WEATHER]) == len(tokenizer(expected, add_special_tokens=False)["input_ids"])
    assert read(tools=[WEATHER], tool_choice="none") == read() < read(tools=[WEATHER])


def test_a_base_that_knows_no_tools_says_so(live: LiveServer) -> None:
    for change in (
        {"tools": [WEATHER]},
        {
            "messages": [
                *ASKED["messages"],
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
                    ],
                },
            ]
        },
    ):
        refused = live.post("/v1/chat/completions", **ASKED | change)

        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == next(iter(change))
        assert "chat template" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        *(
            ({"tools": [WEATHER], "tool_choice": choice, "structured_outputs": {"choice": ["a"]}}, param)
            for choice, param in (("required", "structured_outputs"), ("auto", "structured_outputs"))
        ),
        ({"tools": [WEATHER], "tool_choice": allowed("auto", "stop")}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": allowed("auto")}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "custom"}}, "tool_choice"),
        (
            {
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "strin"}}}],
                "tool_choice": "required",
            },
            "tools",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [
                            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}
                        ],
                    }
                ]
            },
            "messages.tool_calls",
        ),
    ],
)
def test_what_is_wrong_with_tools_is_said_by_field(
    live: LiveServer, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], param: str
) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", MARKED)

    refused = live.post("/v1/chat/completions", **ASKED | change)

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


ANSWERS = [
    (f"<tool_call>\n{CALL}\n</tool_call>", "", 1),
    (f"I look.\n<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>\n", "I look.", 2),
    (CALL, "", 1),
    (f"\n {CALL.replace('arguments', 'parameters')}\n", "", 1),
    ("It rains, <b>so</b> <tool", "It rains, <b>so</b> <tool", 0),
    (
        '<tool_call>{"name": "nobody", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "nobody", "arguments": {}}</tool_call>',
        0,
    ),
    ("<tool_call>{broken</tool_call> then", "<tool_call>{broken</tool_call> then", 0),
    ('{"place": "Bergen"}', '{"place": "Bergen"}', 0),
    (f"<tool_call>{CALL}", f"<tool_call>{CALL}", 0),
    ("", "", 0),
]


@settings(deadline=None)
@given(answer=st.sampled_from(ANSWERS), cuts=st.lists(st.integers(0, 120), max_size=12))
def test_calls_are_found_however_an_answer_is_cut(answer: tuple[str, str, int], cuts: list[int]) -> None:
    text, said, count = answer
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    reader, found, calls = CallReader(["weather"]), "", []

    for start, end in zip(places, [*places[1:], len(text)], strict=True):
        more, new = reader.push(text[start:end], last=start == places[-1])
        found += more
        calls += new

    assert (found, len(calls)) == (said, count)
    assert all(json.loads(call.arguments) == {"place": "Bergen"} for call in calls)


@pytest.mark.parametrize(
    ("text", "said", "count"),
    [
        (f"I look.\n<tool_call>\n{CALL}\n", "I look.", 1),
        (CALL, "", 1),
        ("<tool_call>{broken", "<tool_call>{broken", 0),
        ("It rains.", "It rains.", 0),
    ],
)
def test_a_single_call_is_read_without_the_mark_behind_it(text: str, said: str, count: int) -> None:
    reader = CallReader(["weather"], single=True)

    pieces = [reader.push(letter, last=False)[0] for letter in text]

    assert "".join(pieces) + reader.push("", last=True)[0] == said
    assert len(reader.calls) == count
