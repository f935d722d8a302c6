"""What a request says of chance, penalties and biases is heard in its answers, through the official client too."""

from __future__ import annotations

from typing import Any

import pytest

from routing.composed import ComposedModel
from tests.routing.libraries import TEXT
from tests.serving.live import LiveServer

ASKED: dict[str, Any] = {"model": "tales", "prompt": TEXT, "max_tokens": 8, "temperature": 0}


@pytest.fixture
def client(live: LiveServer) -> Any:
    return live.client()


def test_a_biased_token_is_all_that_is_said_in_completions_and_chats_and_one_ruled_out_never(
    client: Any, composed: ComposedModel
) -> None:
    tokenizer = composed.routed.base.tokenizer
    first = composed.generate(TEXT, max_tokens=1).tokens[0].token

    only = client.completions.create(**ASKED, logit_bias={"50": 100})
    chat = client.chat.completions.create(
        model="tales",
        messages=[{"role": "user", "content": TEXT}],
        max_tokens=3,
        temperature=0,
        logit_bias={"50": 100},
    )
    without = client.completions.create(**ASKED, logit_bias={str(first): -100})

    assert only.choices[0].text == tokenizer.decode([50] * 8)
    assert chat.choices[0].message.content == tokenizer.decode([50] * 3)
    assert tokenizer.decode([first]) not in without.choices[0].text[:1]


@pytest.mark.parametrize(
    "said",
    [
        {"presence_penalty": -2.0, "frequency_penalty": -2.0},
        {"presence_penalty": 2.0, "logit_bias": {"50": 90, "51": 89}},
        {"extra_body": {"repetition_penalty": 9.0}},
    ],
)
def test_penalties_are_heard_also_in_a_stream_and_leave_a_free_answer_beside_them_alone(
    client: Any, said: dict[str, Any]
) -> None:
    free = client.completions.create(**ASKED).choices[0].text

    whole = client.completions.create(**ASKED, **said).choices[0].text
    streamed = client.completions.create(**ASKED, **said, stream=True)

    assert whole != free
    assert "".join(chunk.choices[0].text for chunk in streamed) == whole
    assert client.completions.create(**ASKED).choices[0].text == free


def test_a_guide_wins_over_a_bias(client: Any, composed: ComposedModel) -> None:
    yes = composed.routed.base.tokenizer("yes")["input_ids"]

    answer = client.completions.create(
        **ASKED,
        logit_bias={str(token): -100 for token in yes} | {"50": 100},
        extra_body={"structured_outputs": {"choice": ["yes"]}},
    )

    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("yes", "stop")


def test_a_hot_answer_of_the_one_likeliest_token_is_the_greedy_one(client: Any) -> None:
    greedy = client.completions.create(**ASKED).choices[0].text

    for only in ({"top_k": 1}, {"min_p": 1}):
        hot = client.completions.create(**ASKED | {"temperature": 2}, extra_body=only)

        assert hot.choices[0].text == greedy
    assert client.completions.create(**ASKED, extra_body={"top_k": -1}).choices[0].text == greedy
