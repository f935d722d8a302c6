"""Loading an adapter with peft, from a hub and from the folder that it was uploaded from."""

from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from transformers import AutoModelForCausalLM


def compare(base: str, repo: str, folder: str) -> dict[str, Any]:
    """Which tensors differ between the two."""
    ours, theirs = (_tensors(base, place) for place in (repo, folder))
    different = [name for name in theirs if not torch.equal(ours[name], theirs[name])]
    return {"tensors": len(theirs), "different": different}


def _tensors(base: str, place: str) -> dict[str, torch.Tensor]:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), place)
    return dict(get_peft_model_state_dict(model))
