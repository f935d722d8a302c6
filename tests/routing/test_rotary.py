"""Positions that depend on the longest text of a pass are those that it has alone, whatever else is read."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from routing.base import load_base
from routing.rotary import keep_passes_apart
from routing.spec import BaseRef
from tests.tiny import tiny_llama

ROPES: list[dict[str, Any]] = [
    {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
    {
        "rope_type": "longrope",
        "short_factor": [1.0] * 8,
        "long_factor": [4.0] * 8,
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "rope_theta": 10000.0,
    },
]
LONG, SHORTER, SHORT = (torch.arange(length)[None] % 50 + 3 for length in (60, 40, 8))


def small(rope: dict[str, Any]) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=32,
        num_attention_heads=2,
        num_hidden_layers=1,
        max_position_embeddings=16,
        rope_parameters=rope,
    )
    return LlamaForCausalLM(config).eval()


@torch.inference_mode()
def read(model: Any, ids: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=ids).logits
    return logits


@pytest.mark.parametrize("rope", ROPES, ids=lambda rope: str(rope["rope_type"]))
def test_a_text_reads_as_it_does_alone_whatever_was_read_before(rope: dict[str, Any]) -> None:
    alone = [read(small(rope), ids) for ids in (LONG, SHORTER, SHORT)]
    model = small(rope)
    keep_passes_apart(model)

    for ids, expected in [*zip((LONG, SHORTER, SHORT, LONG), [*alone, alone[0]], strict=True)] * 2:
        torch.testing.assert_close(read(model, ids), expected)


class Overlapping(nn.Module):
    """A rotary embedding that notices when two passes are in it."""

    def __init__(self, kind: str | dict[str, str]) -> None:
        super().__init__()
        self.rope_type, self.inside, self.most = kind, 0, 0

    def forward(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        time.sleep(0.02)
        self.inside -= 1


@pytest.mark.parametrize("kind", ["longrope", {"full_attention": "longrope", "sliding_attention": "default"}])
def test_passes_of_several_threads_are_worked_out_one_by_one(kind: str | dict[str, str]) -> None:
    module, together = Overlapping(kind), threading.Barrier(4)
    keep_passes_apart(module)

    def enter() -> None:
        together.wait(30)
        module()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert module.most == 1


@pytest.mark.parametrize("kind", ["default", "llama3", {"full_attention": "yarn"}])
def test_others_are_left_as_they_are(kind: str | dict[str, str]) -> None:
    module = Overlapping(kind)
    keep_passes_apart(module)

    assert "forward" not in vars(module)


def test_a_base_that_is_loaded_has_its_passes_kept_apart(tmp_path: Path) -> None:
    small(ROPES[0]).save_pretrained(tmp_path)
    for file in tiny_llama().glob("*token*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = load_base(BaseRef(str(tmp_path))).model

    alone = read(small(ROPES[0]), SHORTER)
    read(model, LONG)

    torch.testing.assert_close(read(model, SHORTER), alone)
