"""Saving an adapter to a hub with peft, straight from training, and loading it from there."""

from typing import Any

import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer


def there_and_back(base: str, pushed: str, stored: str, folder: str) -> dict[str, Any]:
    """Push an adapter and load it again; and load one that was uploaded from a folder. Which tensors differ?"""
    trained = get_peft_model(_base(base), LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    trained.push_to_hub(pushed)
    pairs = [
        (get_peft_model_state_dict(trained), _loaded(base, pushed)),
        (_loaded(base, folder), _loaded(base, stored)),
    ]
    return {
        "tensors": [len(theirs) for theirs, _ in pairs],
        "different": [
            name for theirs, ours in pairs for name in theirs if not torch.equal(theirs[name], ours[name])
        ],
    }


def by_name(base: str, adapter: str, same: str) -> dict[str, Any]:
    """The base by its name, and the adapter that names it, beside the same base from a folder."""
    theirs = AutoModelForCausalLM.from_pretrained(same)
    ours = AutoModelForCausalLM.from_pretrained(base)
    composed = AutoPeftModelForCausalLM.from_pretrained(adapter)
    ids = AutoTokenizer.from_pretrained(base)("ferry", return_tensors="pt").input_ids
    return {
        "same": torch.equal(theirs(ids).logits, ours(ids).logits),
        "adapted": not torch.equal(theirs(ids).logits, composed(ids).logits),
    }


def _base(base: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(base)


def _loaded(base: str, place: str) -> dict[str, torch.Tensor]:
    return dict(get_peft_model_state_dict(PeftModel.from_pretrained(_base(base), place)))
