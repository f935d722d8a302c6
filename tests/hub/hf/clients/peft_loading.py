"""Saving an adapter to a hub with peft, straight from training, and loading it from there."""

from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from transformers import AutoModelForCausalLM


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


def _base(base: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(base)


def _loaded(base: str, place: str) -> dict[str, torch.Tensor]:
    return dict(get_peft_model_state_dict(PeftModel.from_pretrained(_base(base), place)))
