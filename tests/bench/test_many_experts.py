"""The bench of many experts, with few: what it builds is served, and what it counts adds up."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import many_experts


@pytest.mark.slow
def test_a_memory_for_some_answers_all_prompts_and_finds_some_experts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_experts, "ANSWER_TOKENS", 2)
    monkeypatch.setattr(many_experts, "PROMPTS", 40)
    many_experts.build(tmp_path, 24)  # of 116 KB: the memory holds nine

    one_each = many_experts.measure(tmp_path, 1, many_experts.ONE_EACH, 24)
    narrowed = many_experts.measure(tmp_path, 1, many_experts.NARROWED, 8)
    everybody = many_experts.measure(tmp_path, None, many_experts.ONE_EACH, 8)

    assert one_each.hit_rate is not None
    assert 0 < one_each.hit_rate < 1
    assert (one_each.narrowed, narrowed.narrowed) == (0, 8)
    assert everybody.hit_rate is None
