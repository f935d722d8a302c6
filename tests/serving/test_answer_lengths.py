"""An answer of which no length is said becomes as long as one that might be asked for, and no longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from routing.base import load_base
from routing.generation import Generation
from routing.routed import RoutedModel
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
