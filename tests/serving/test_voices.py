"""Brief traces: who leads at each token that was written, in few bytes, whole and in a stream."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from tests.routing.libraries import TEXT
from tests.serving.live import LiveServer

ASKED: dict[str, Any] = {"model": "tales", "prompt": TEXT, "max_tokens": 10, "temperature": 0}


def whole(live: LiveServer, trace: object, **more: object) -> Any:
    answer = live.post("/v1/completions", **ASKED, **more, routing={"trace": trace})
    assert answer.status_code == 200, answer.text
    return answer.json()


def joined(pieces: Sequence[Any]) -> dict[str, list[Any]]:
    """The lists of a stream's chunks, one behind the other."""
    said: dict[str, list[Any]] = {}
    for piece in pieces:
        for name, part in piece.items():
            said.setdefault(name, []).extend(part)
    return said


def leaders(answer: Any) -> list[str]:
    """By the full trace: who has the most weight at the tokens before those that were written."""
    trace = answer["fletch"]["trace"]
    found = []
    for place in range(-ASKED["max_tokens"], 0):
        weights: Counter[int] = Counter()
        for module in trace["modules"].values():
            for expert, weight in zip(module["experts"][place], module["weights"][place], strict=True):
                weights[expert] += weight
        found.append(trace["experts"][weights.most_common(1)[0][0]])
    return found


def test_each_token_names_who_leads_where_it_was_predicted(live: LiveServer) -> None:
    answer = whole(live, "tokens")

    said = answer["choices"][0]["fletch"]
    assert [said["experts"][place] for place in said["leading"]] == leaders(whole(live, True))
    assert "".join(said["tokens"]) == answer["choices"][0]["text"]
    assert all(0 < share <= 1 for share in said["shares"])
    assert said.keys() == {"experts", "tokens", "leading", "shares"}


def test_by_module_stands_who_leads_there_as_the_full_trace_has_it(live: LiveServer) -> None:
    said = whole(live, "modules")["choices"][0]["fletch"]
    full = whole(live, True)["fletch"]["trace"]

    assert set(said["modules"]) == full["modules"].keys()
    first, place = said["by_module"][0], -ASKED["max_tokens"]
    for name, expert, weight in zip(said["modules"], first["experts"], first["weights"], strict=True):
        weights = full["modules"][name]["weights"][place]
        chosen = full["modules"][name]["experts"][place]
        assert said["experts"][expert] == full["experts"][chosen[weights.index(max(weights))]]
        assert weight == pytest.approx(100 * max(weights), abs=0.6)


def test_a_stream_names_each_expert_and_module_once(live: LiveServer) -> None:
    answer = live.post("/v1/completions", **ASKED, stream=True, routing={"trace": "modules"})
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]

    pieces = [json.loads(line)["choices"][0]["fletch"] for line in lines[:-1]]

    assert joined(pieces) == whole(live, "modules")["choices"][0]["fletch"]
    assert sum("modules" in piece for piece in pieces) == 1


def test_chats_say_it_too_and_each_choice_for_itself(live: LiveServer) -> None:
    body = {"model": "tales", "messages": [{"role": "user", "content": TEXT}], "max_tokens": 4, "n": 2}
    answer = live.post("/v1/chat/completions", **body, routing={"trace": "tokens"}).json()

    for choice in answer["choices"]:
        assert "".join(choice["fletch"]["tokens"]) == choice["message"]["content"]


def test_where_every_token_keeps_the_plain_base_nobody_leads(live: LiveServer) -> None:
    answer = live.post(
        "/v1/completions", **ASKED, routing={"trace": "modules", "router": "arrow", "abstain": 1e9}
    )

    said = answer.json()["choices"][0]["fletch"]
    assert said["experts"] == []
    assert set(said["leading"]) == {None}
    assert set(said["shares"]) == {0.0}
