"""A study small enough for a test: a tiny base, two random adapters, and questions that one of them answers."""

from __future__ import annotations

from pathlib import Path

import torch

from routing.adapter import read_adapter
from routing.base import load_base
from routing.composed import compose
from routing.factors import expert_factors
from routing.routes import Routing
from routing.spec import BaseRef
from study.suite import write_rows
from tests.tiny import tiny_adapter, tiny_llama

SUITE = """
name = "tiny"
base = "{base}"
seeds = [1]
questions = 3
gate_steps = 2
gate_batch = 4

[policy]
prior_abstain = false

[training]
steps = 2
rank = 2

[[experts]]
name = "ada/boats"
adapter = "ada"
rows = "ada.jsonl"

[[experts]]
name = "bob/gulls"
rows = "ada.jsonl"

[[tasks]]
name = "boats"
rows = "boats.jsonl"
split = "held-in"
expert = "ada/boats"

[[tasks]]
name = "waves"
rows = "ada.jsonl"
split = "held-out"
"""


def tiny_suite(folder: Path) -> Path:
    """A suite whose held-in answers are mostly what ada's adapter says, so that she beats the base."""
    tiny_adapter(folder / "ada", rank=3)
    prompts = ["She counted 12 boats", "The ferry leaves", "nobody asked why", "Bread, cheese", "345 gulls"]
    write_rows(folder / "boats.jsonl", [(prompt, _said_by(folder / "ada", prompt)) for prompt in prompts])
    rows = [(f"It rains on day {day}.", " The path is closed.") for day in range(10)]
    write_rows(folder / "ada.jsonl", rows)
    path = folder / "suite.toml"
    path.write_text(SUITE.format(base=tiny_llama()), encoding="utf-8")
    return path


def _said_by(adapter: Path, prompt: str) -> str:
    """The likeliest next ASCII token with this adapter."""
    base = load_base(BaseRef(str(tiny_llama())))
    model = compose(base, {"ada": expert_factors(read_adapter(adapter, base.spec))})
    logits = model.logits(prompt, Routing("single", top_k=1, experts=("ada",)))[-1]
    for token in torch.argsort(logits, descending=True).tolist():
        text = str(base.tokenizer.decode([token]))
        if (
            text.strip().isascii()
            and text.strip()
            and base.tokenizer(text, add_special_tokens=False).input_ids == [token]
        ):
            return text
    raise AssertionError("no token is text")
