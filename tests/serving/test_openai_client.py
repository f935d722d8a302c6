"""OpenAI's own client works against the serving process, and gets what the composed model says."""

from __future__ import annotations

from typing import Any, Literal

import openai
import pytest
import torch
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params
from pydantic import BaseModel

from routing.composed import ComposedModel
from tests.routing.libraries import TEXT
from tests.serving.live import LiveServer
from tests.tiny import VOCABULARY
from workers.serving.bodies import ChatBody, CompletionBody

CHAT: dict[str, Any] = {"model": "tales", "messages": [{"role": "user", "content": "Why?"}]}


@pytest.fixture
def client(live: LiveServer) -> Any:
    return live.client()


def test_a_completion_is_what_the_composed_model_says(client: Any, composed: ComposedModel) -> None:
    answer = client.completions.create(model="tales", prompt=TEXT, max_tokens=12, temperature=0)

    expected = composed.generate(TEXT, max_tokens=12)
    assert answer.object == "text_completion"
    assert answer.choices[0].text == expected.text
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(composed.tokens(TEXT))
    assert answer.usage.completion_tokens == 12


def test_a_stream_joined_is_the_whole_answer_and_ends_with_its_usage(client: Any) -> None:
    whole = client.completions.create(model="tales", prompt=TEXT, max_tokens=20, temperature=0)

    chunks = list(
        client.completions.create(
            model="tales",
            prompt=TEXT,
            max_tokens=20,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + [
        "length"
    ]
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_chat_answers_with_a_message_and_streams_the_same(client: Any) -> None:
    asked = {
        "model": "tales",
        "messages": [{"role": "system", "content": "Count."}, {"role": "user", "content": "How many gulls?"}],
        "max_tokens": 10,
        "temperature": 0,
    }

    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True))

    assert whole.choices[0].message.role == "assistant"
    assert whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_a_chat_without_a_template_is_role_and_content(client: Any) -> None:
    chat = client.chat.completions.create(
        model="tales", messages=[{"role": "user", "content": "Why?"}], max_tokens=8, temperature=0
    )
    plain = client.completions.create(
        model="tales", prompt="user: Why?\nassistant:", max_tokens=8, temperature=0
    )

    assert chat.choices[0].message.content == plain.choices[0].text


def test_logprobs_and_echo_are_the_models_own(client: Any, composed: ComposedModel) -> None:
    answer = client.completions.create(
        model="tales", prompt=TEXT, max_tokens=4, temperature=0, logprobs=3, echo=True
    )

    choice = answer.choices[0]
    assert choice.logprobs is not None
    assert choice.text.startswith(TEXT)
    places = [
        (offset, token)
        for offset, token in zip(choice.logprobs.text_offset, choice.logprobs.tokens, strict=True)
        if not token.startswith("bytes:")  # a part of a character
    ]
    assert "".join(token for _, token in places) == choice.text.replace("\ufffd", "")
    assert all(choice.text[offset:].startswith(token) for offset, token in places)
    assert choice.logprobs.token_logprobs[0] is None
    tokens = composed.tokens(TEXT)
    expected = composed.logits(TEXT).log_softmax(-1)[range(len(tokens) - 1), tokens[1:]]
    torch.testing.assert_close(
        torch.tensor(choice.logprobs.token_logprobs[1 : len(tokens)]), expected, atol=1e-4, rtol=1e-4
    )
    entries = list(
        zip(choice.logprobs.tokens, choice.logprobs.token_logprobs, choice.logprobs.top_logprobs, strict=True)
    )
    assert all(top[token] == logprob for token, logprob, top in entries[1:])
    assert {len(top) for _, _, top in entries[1:]} == {
        3,
        4,
    }  # the token itself is told where it is none of them


def test_a_prompt_can_be_scored_without_writing_anything(client: Any) -> None:
    answer = client.completions.create(model="tales", prompt=TEXT, max_tokens=0, logprobs=0, echo=True)

    assert answer.choices[0].text == TEXT
    assert len(answer.choices[0].logprobs.token_logprobs) == answer.usage.prompt_tokens


def test_chat_logprobs_name_bytes_and_alternatives(client: Any) -> None:
    answer = client.chat.completions.create(
        model="tales",
        messages=[{"role": "user", "content": "Why?"}],
        max_tokens=5,
        temperature=0,
        logprobs=True,
        top_logprobs=2,
    )

    content = answer.choices[0].logprobs.content
    spoken = b"".join(bytes(entry.bytes) for entry in content)
    assert spoken.decode(errors="replace") == answer.choices[0].message.content
    assert bytes(content[0].bytes).decode() == content[0].token
    assert all(len(entry.top_logprobs) == 2 for entry in content)
    assert all(entry.top_logprobs[0].logprob == pytest.approx(entry.logprob) for entry in content)


def test_an_answer_ends_before_its_stop_string(client: Any) -> None:
    free = client.completions.create(model="tales", prompt=TEXT, max_tokens=20, temperature=0).choices[0].text
    stop = free[7:10]

    stopped = client.completions.create(model="tales", prompt=TEXT, max_tokens=20, temperature=0, stop=stop)
    streamed = client.completions.create(
        model="tales", prompt=TEXT, max_tokens=20, temperature=0, stop=[stop], stream=True
    )

    assert stopped.choices[0].text == free[: free.index(stop)]
    assert stopped.choices[0].finish_reason == "stop"
    assert "".join(chunk.choices[0].text for chunk in streamed) == stopped.choices[0].text


def test_stop_strings_overlap_cross_tokens_and_are_of_any_characters(client: Any) -> None:
    asked = {"model": "tales", "prompt": TEXT, "max_tokens": 60, "seed": 5}
    free = client.completions.create(**asked).choices[0].text
    place = next(place for place, character in enumerate(free) if place > 4 and len(character.encode()) > 1)
    short, long, before = free[place : place + 1], free[place : place + 4], free[place - 3 : place + 2]

    for stop in ([short, long], [long, short], [long], [long, before], [before, "nothing of it"]):
        whole = client.completions.create(**asked, stop=stop)
        chunks = client.completions.create(**asked, stop=stop, stream=True)

        text, finish = whole.choices[0].text, whole.choices[0].finish_reason
        assert finish == "stop"
        assert text in {free[: free.index(one)] for one in stop if one in free}
        assert not any(one in text for one in stop)
        assert "".join(chunk.choices[0].text for chunk in chunks) == text


@pytest.mark.parametrize(
    "said",
    [
        {"store": False, "service_tier": "auto", "modalities": ["text"], "metadata": {"ours": "yes"}},
        {"service_tier": "flex", "safety_identifier": "ada", "user": "ada"},
        {"reasoning_effort": "low", "verbosity": "low"},
        {"prompt_cache_key": "one of ours", "prompt_cache_retention": "24h"},
        {"prediction": {"type": "content", "content": "Because."}},
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
        {"parallel_tool_calls": True, "n": None, "stop": None, "logit_bias": None, "seed": -1},
    ],
    ids=lambda said: next(iter(said)),
)
def test_what_asks_for_nothing_that_we_lack_changes_no_answer(client: Any, said: dict[str, Any]) -> None:
    ask = {**CHAT, "max_tokens": 3, "temperature": 0}
    plain = client.chat.completions.create(**ask).choices[0].message.content

    answer = client.chat.completions.create(**ask, **said)

    texts = (
        [chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices]
        if "stream" in said
        else [answer.choices[0].message.content]
    )
    assert "".join(texts) == plain


def test_every_field_that_the_client_knows_is_taken_or_refused_with_intent() -> None:
    chat, plain = (
        set(of.CompletionCreateParamsBase.__annotations__) for of in (chat_params, completion_params)
    )

    assert chat - ChatBody.model_fields.keys() == {
        "audio",
        "function_call",
        "functions",
        "moderation",
        "prompt_cache_options",
        "web_search_options",
    }
    assert plain <= CompletionBody.model_fields.keys()


def test_the_smallest_nucleus_is_the_likeliest_token(client: Any) -> None:
    ask = {"model": "tales", "prompt": TEXT, "max_tokens": 8}

    smallest = client.completions.create(**ask, temperature=2, top_p=0)

    assert smallest.choices[0].text == client.completions.create(**ask, temperature=0).choices[0].text


class Direction(BaseModel):
    """What the client parses answers into."""

    left: bool
    way: Literal["path", "road"]


@pytest.fixture
def brief(live: LiveServer) -> dict[str, Any]:
    """A form that is soon complete: no token of nothing but space is said."""
    model = live.server.libraries["tales"].model
    assert model is not None
    blank = [n for n in range(VOCABULARY) if not model.base.tokenizer.decode([n]).strip()]
    return {"max_tokens": 60, "response_format": Direction, "logit_bias": {str(n): -100 for n in blank}}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the client's own, of what it has parsed
def test_the_client_parses_an_answer_and_sends_it_back(client: Any, brief: dict[str, Any]) -> None:
    first = client.chat.completions.parse(**CHAT, **brief)
    message = first.choices[0].message

    second = client.chat.completions.parse(
        model="tales",
        messages=[*CHAT["messages"], message, {"role": "user", "content": "And now?"}],
        **brief,
    )

    assert isinstance(message.parsed, Direction)
    assert isinstance(second.choices[0].message.parsed, Direction)


def test_the_client_hears_the_events_of_a_stream_and_parses_its_end(
    client: Any, brief: dict[str, Any]
) -> None:
    with client.chat.completions.stream(**CHAT, **brief) as stream:
        heard = [event.type for event in stream]
        end = stream.get_final_completion().choices[0].message

    assert heard.count("content.delta") > 1
    assert isinstance(end.parsed, Direction)


def test_other_ways_to_ask_are_not_there(client: Any) -> None:
    client.completions.create(model="tales", prompt="x", max_tokens=1, best_of=1, suffix=None)
    with pytest.raises(openai.NotFoundError, match="/v1/responses: not served here; expected POST /v1/chat"):
        client.responses.create(model="tales", input="x")


def test_equal_seeds_give_equal_answers_and_n_gives_different_ones(client: Any) -> None:
    def ask() -> list[str]:
        answer = client.completions.create(model="tales", prompt=TEXT, max_tokens=16, seed=11, n=4, top_p=0.9)
        return [choice.text for choice in answer.choices]

    assert ask() == ask()
    assert len(set(ask())) > 1


def test_several_prompts_are_answered_in_order(client: Any) -> None:
    prompts = [TEXT, "The mill", "Bread and"]

    together = client.completions.create(model="tales", prompt=prompts, max_tokens=6, temperature=0)

    alone = [client.completions.create(model="tales", prompt=p, max_tokens=6, temperature=0) for p in prompts]
    assert [choice.text for choice in together.choices] == [answer.choices[0].text for answer in alone]
    assert [choice.index for choice in together.choices] == [0, 1, 2]


def test_models_are_the_library_its_versions_its_base_and_its_experts(client: Any) -> None:
    names = [model.id for model in client.models.list()]

    assert names[:3] == ["tales", "tales@1", "tales/base"]
    assert "tales/ada/plain" in names
    assert client.models.retrieve("tales/ada/plain").id == "tales/ada/plain"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("tales/ada/nothing")


def test_each_model_name_answers_as_what_it_names(client: Any, composed: ComposedModel) -> None:
    def say(model: str) -> str:
        return (
            client.completions.create(model=model, prompt=TEXT, max_tokens=12, temperature=0).choices[0].text
        )

    single = composed.routing(router="single", experts=["bob/wide"])
    base = composed.base_logits(TEXT)[-1].argmax()
    assert say("tales@1") == say("tales")
    assert say("tales/bob/wide") == composed.generate(TEXT, max_tokens=12, routing=single).text
    assert say("tales/base").startswith(composed.routed.base.tokenizer.decode([int(base)])[:1])
    assert len({say("tales"), say("tales/bob/wide"), say("tales/base")}) == 3


def test_errors_arrive_as_the_clients_own_exceptions(client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.completions.create(model="nowhere", prompt="x")
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model="tales", prompt="word " * 400)

    assert unknown.value.code == "model_not_found"
    assert long.value.code == "context_length_exceeded"
    assert long.value.param == "prompt"


def test_the_next_turn_of_a_conversation_is_not_read_from_its_beginning(client: Any) -> None:
    def ask(messages: list[dict[str, str]], **more: str) -> Any:
        return client.chat.completions.create(
            model="tales", messages=messages, max_tokens=8, temperature=0, **more
        )

    turns = [{"role": "user", "content": TEXT}]
    first = ask(turns, prompt_cache_key="one of ours")
    turns += [
        {"role": "assistant", "content": first.choices[0].message.content},
        {"role": "user", "content": "And how many boats?"},
    ]

    second, anew = ask(turns, prompt_cache_key="one of ours"), ask(turns)

    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert second.usage.prompt_tokens_details.cached_tokens > 16
    assert anew.usage.prompt_tokens_details.cached_tokens == 0
    assert second.choices[0].message.content == anew.choices[0].message.content
    assert [one["adapter"] for one in second.fletch["experts"]] == [
        one["adapter"] for one in anew.fletch["experts"]
    ]
