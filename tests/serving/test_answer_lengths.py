"""An answer of which no length is said becomes as long as one that might be asked for, and no longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from routing.base import load_base
from routing.generation import Generation, end_tokens
from routing.routed import RoutedModel
from tests.serving.live import LiveServer
from tests.tiny import CONTEXT, tiny_llama, tiny_t5
from workers.serving.bodies import ChatBody, Message
from workers.serving.errors import ApiError
from workers.serving.guides import Guides
from workers.serving.options import Limits
from workers.serving.prompts import chat_generations
from workers.serving.targets import Target

MESSAGES = [Message(role="user", content="the mill is closed")]


@pytest.mark.parametrize("limits", [Limits(prompt_tokens=60), Limits(), Limits(max_tokens=7)])
@pytest.mark.parametrize("folder", [tiny_llama(), tiny_t5()], ids=["llama", "t5"])
def test_what_is_left_out_is_the_most_that_may_be_said(folder: Path, limits: Limits) -> None:
    target = Target("tales", RoutedModel(load_base(folder)), None, None)

    def asked(length: int | None) -> Generation:
        body = ChatBody(model="tales", messages=MESSAGES, max_tokens=length)
        return chat_generations(body, target, limits, Guides())[0]

    silent = asked(None).request

    assert asked(silent.max_tokens).request == silent
    with pytest.raises(ApiError, match="expected at most"):
        asked(silent.max_tokens + 1)
    if target.model.base.family.name == "causal" and limits.max_tokens > CONTEXT:
        assert silent.length == min(limits.prompt_tokens, CONTEXT)


@pytest.mark.parametrize(
    ("said", "length", "reason"),
    [({"ignore_eos": True}, 6, "length"), ({"ignore_eos": False}, 1, "stop"), ({}, 1, "stop")],
)
def test_an_answer_goes_on_behind_its_end_where_that_is_asked_for(
    live: LiveServer, said: dict[str, bool], length: int, reason: str
) -> None:
    model = live.server.libraries["tales"].model
    assert model is not None
    ends = {str(token): 100 for token in end_tokens(model)}
    body = {"model": "tales", "max_tokens": 6, "logit_bias": ends, **said}
    turns = [{"role": "user", "content": "the mill"}]
    asked: dict[str, dict[str, Any]] = {
        "/v1/completions": {"prompt": "the mill"},
        "/v1/chat/completions": {"messages": turns},
    }

    for path, question in asked.items():
        answer = live.post(path, **body, **question).json()
        found = answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]
        assert found == (length, reason)


def test_an_answer_in_a_form_ends_with_it(live: LiveServer) -> None:
    form = {"type": "json_object"}
    asked = {"model": "tales", "prompt": "x", "ignore_eos": True, "response_format": form}
    refused = live.post("/v1/completions", **asked)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "ignore_eos")


def test_a_chat_goes_on_behind_the_words_that_end_its_turns() -> None:
    target = Target("tales", RoutedModel(load_base(tiny_llama())), None, None)

    def stops(*, ignore: bool) -> tuple[str, ...]:
        body = ChatBody(model="tales", messages=MESSAGES, stop="mill", ignore_eos=ignore)
        return chat_generations(body, target, Limits(), Guides())[0].request.stop

    assert stops(ignore=False) != stops(ignore=True) == ("mill",)
