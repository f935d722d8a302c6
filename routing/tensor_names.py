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


# What the name of a tensor gives away, the surest mark first.
STRANGERS = (
    ("a DoRA magnitude under a name that PEFT does not write", ("lora_magnitude_vector",)),
    ("relative position biases, which no expert may change", ("relative_attention_bias",)),
    (
        "token embeddings, which no expert may change",
        ("lora_embedding_", "embed", ".shared.", ".wte.", ".wpe."),
    ),
    ("the output head, which no expert may change", ("lm_head",)),
    ("a LoRA tensor under a name that PEFT does not write", (".lora_",)),
    ("a vector of an (IA)^3, which this adapter is not", (".ia3_",)),
)


def reason_for_stranger(name: str) -> str:
    """What a tensor that is no part of an adapter would be, as far as its name says."""
    said = (reason for reason, marks in STRANGERS if any(mark in name for mark in marks))
    return next(said, "a weight of the base itself, which no expert may change")
