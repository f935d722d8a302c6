"""`fletch bench` against a real serving process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fletch.running import Shell
from tests.serving.live import LiveServer


@pytest.fixture
def shell(tmp_path: Path, live: LiveServer) -> Shell:
    return Shell(tmp_path, {"FLETCH_SERVING": live.url})


def test_every_answer_is_timed(shell: Shell) -> None:
    ran = shell.fletch("bench", "tales", "--requests", 6, "--at-once", 3, "--max-tokens", 5, "--json")

    assert ran.status == 0, ran.err
    found = ran.document
    assert (found["requests"], found["answered"], found["refusals"]) == (6, 6, {})
    assert 0 < found["completion_tokens"] <= 30
    assert found["prompt_tokens"] > 6 * 20
    assert found["completion_tokens_per_second"] == pytest.approx(
        found["completion_tokens"] / found["seconds"], rel=0.05
    )
    for name in ("first_token", "between_tokens", "whole_answer"):
        times = found[name]
        assert 0 <= times["p50"] <= times["p95"] <= times["max"] <= found["seconds"]


def test_people_are_told_in_sentences_and_prompts_may_be_ones_own(shell: Shell, live: LiveServer) -> None:
    (shell.home / "asked.txt").write_text("The ferry {number}\n\nBoats\n")

    ran = shell.fletch(
        "bench", "tales", "--prompts", "asked.txt", "--requests", 3, "--max-tokens", 4, "--base"
    )

    assert ran.status == 0, ran.err
    assert ran.out.startswith("3 of 3 answers in ")
    assert "to the first token: " in ran.out
    assert 'fletch_completion_tokens_total{library="tales"}' in live.get("/metrics").text


@pytest.mark.parametrize("chat", [[], ["--chat"]])
def test_every_answer_is_as_long_as_asked_whatever_would_end_it(
    shell: Shell, live: LiveServer, monkeypatch: pytest.MonkeyPatch, chat: list[str]
) -> None:
    monkeypatch.setattr("routing.generation.end_tokens", lambda _: frozenset(range(1_000)))
    asked = ["bench", "tales", "--requests", 3, "--max-tokens", 5, *chat]
    labels = {"endpoint": "/v1/chat/completions" if chat else "/v1/completions", "status": "200"}

    def counted() -> float:
        return live.server.metrics.registry.get_sample_value("fletch_requests_total", labels) or 0

    before = counted()
    ran, short = shell.fletch(*asked), shell.fletch(*asked, "--let-end", "--json")

    assert "each answer has 5 tokens\n" in ran.out, ran.err
    found = short.document
    assert (found["answered"], found["shortest_answer"], found["longest_answer"]) == (3, 1, 1)
    assert counted() - before == 6


def test_refusals_are_counted_by_what_was_said(shell: Shell) -> None:
    ran = shell.fletch("bench", "nowhere", "--requests", 4, "--at-once", 2)

    assert ran.status == 1
    assert ran.out.startswith("0 of 4 answers in ")
    assert "4 refused: " in ran.out
    assert "nowhere" in ran.out.splitlines()[-1]


def test_a_file_without_a_prompt_is_no_file_of_prompts(shell: Shell) -> None:
    (shell.home / "asked.txt").write_text("\n\n")

    ran = shell.fletch("bench", "tales", "--prompts", "asked.txt")

    assert ran.status == 2
    assert "found no line, expected a prompt in each" in ran.err
