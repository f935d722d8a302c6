"""Plain LoRA training with peft, as most adapters of the world are made: no replay, no special start.

What was trained once is kept under the digest of everything that it depends on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM

from routing.base import Base
from routing.checks.samples import Sample
from routing.digests import digest_of
from routing.rows import Row, encoded_rows
from study.suite import Recipe

IGNORED = -100


def trained_adapter(
    base: Base, folder: Path, rows: Sequence[Sample], recipe: Recipe, *, seed: int, cache: Path
) -> Path:
    """The PEFT folder of a LoRA trained on these rows of the base in `folder`, now or before."""
    asked = [base.spec.digest, asdict(recipe), seed, [[row.prompt, row.completion] for row in rows]]
    place = cache / "adapters" / digest_of(json.dumps(asked).encode())[:32]
    if not place.exists():
        adapted = train(base, folder, encoded_rows(base, rows), recipe, seed=seed)
        scratch = place.with_suffix(".part")
        shutil.rmtree(scratch, ignore_errors=True)
        adapted.save_pretrained(str(scratch))
        scratch.rename(place)
    return place


def train(base: Base, folder: Path, rows: Sequence[Row], recipe: Recipe, *, seed: int) -> PeftModel:
    """Train one LoRA on a fresh copy of the base; the seed starts it and orders the rows."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=base.dtype)
        targets = recipe.targets if isinstance(recipe.targets, str) else list(recipe.targets)
        conv1d = type(model).__name__.startswith("GPT2")
        config = LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            target_modules=targets,
            task_type="CAUSAL_LM",
            fan_in_fan_out=conv1d,
        )
        adapted = get_peft_model(model.to(base.device), config)
    learnt = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=recipe.learning_rate, weight_decay=0.0)
    warm = max(1, round(recipe.steps * recipe.warm_up))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / warm) * (1 - step / recipe.steps)
    )
    draw = torch.Generator().manual_seed(seed)
    for _ in range(recipe.steps):
        chosen = torch.randint(len(rows), (recipe.batch,), generator=draw).tolist()
        _loss(adapted, [rows[place] for place in chosen], base.device).backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return adapted


def _loss(adapted: PeftModel, rows: Sequence[Row], device: torch.device) -> Tensor:
    """Mean loss of the completions' tokens; padding stands on the right."""
    ids = [torch.tensor([*prompt, *completion]) for prompt, completion in rows]
    labels = [torch.tensor([*[IGNORED] * len(prompt), *completion]) for prompt, completion in rows]
    loss: Tensor = adapted(
        input_ids=pad_sequence(ids, batch_first=True).to(device),
        labels=pad_sequence(labels, batch_first=True, padding_value=IGNORED).to(device),
    ).loss
    return loss
