"""adapter_model.safetensors by the names of its tensors: whose they are, and what a stranger would be."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from routing.finding import Finding

TENSOR_FILE = "adapter_model.safetensors"
CHECK = "tensors-fit-base"
SAVE_AGAIN = "Save the whole adapter again with PEFT's save_pretrained."
OTHER_BASE = "Upload it to a library of the base it was trained on, or train it on this one."
PREFIX = "base_model.model."


def module_and_part(name: str, parts: Collection[str]) -> tuple[str, str] | None:
    """(module, part) of a tensor that PEFT names base_model.model.<module>.<part>; None for another."""
    if not name.startswith(PREFIX):
        return None
    for part in parts:
        module = name.removeprefix(PREFIX).removesuffix(f".{part}")
        if module and name == f"{PREFIX}{module}.{part}":
            return module, part
    return None


def tensor_error(field: str, found: str, expected: str, fix: str) -> Finding:
    """What is wrong with a tensor."""
    return Finding(CHECK, "error", TENSOR_FILE, field, found, expected, fix)


def any_part(names: Iterable[str], part: str) -> bool:
    """Whether any tensor is this part of a module."""
    return any(name.endswith(f".{part}") for name in names)


def reason_for_stranger(name: str) -> str:
    """What a tensor that is no part of an adapter would be, as far as its name says."""
    if "lora_magnitude_vector" in name:
        return "a DoRA magnitude under a name that PEFT does not write"
    if "lora_embedding_" in name or "embed" in name or ".wte." in name or ".wpe." in name:
        return "token embeddings, which no expert may change"
    if "lm_head" in name:
        return "the output head, which no expert may change"
    if ".lora_" in name:
        return "a LoRA tensor under a name that PEFT does not write"
    if ".ia3_" in name:
        return "a vector of an (IA)^3, which this adapter is not"
    return "a weight of the base itself, which no expert may change"
