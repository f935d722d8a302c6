"""Kinds of adapter that no library takes: what each is, why it cannot be mixed, and what to do instead.

An expert is an update of single layers that can be weighed and added to those of others, token by token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TRAIN = "Train a LoRA, DoRA or (IA)^3 on the same rows and upload that."
FOLD = "Compute its update per module and upload its leading singular directions as the A and B of a LoRA."


@dataclass(frozen=True)
class RefusedKind:
    """A kind by PEFT's name for it: what it does, why that cannot be mixed, and what its author can do."""

    what: str
    why: str
    fix: str = TRAIN


_PROMPT = "it changes what the whole model reads, which no token or layer can be routed around"
_ROTATION = "rotations follow each other and have no weighted sum that is one"
_SHARED = "its update hangs on matrices that are not in the file, or shared by all modules"
_DENSE = "its update is a full matrix that neither a low rank nor a scale of the base describes"
_ROUTER = "it is a router of experts itself, trained together with them"
_PARAMETERS = "it changes parameters that all experts of a library share"

REFUSED_KINDS: Mapping[str, RefusedKind] = {
    "PROMPT_TUNING": RefusedKind("learnt tokens before the prompt", _PROMPT),
    "MULTITASK_PROMPT_TUNING": RefusedKind("learnt tokens before the prompt, shared by tasks", _PROMPT),
    "P_TUNING": RefusedKind("learnt tokens before the prompt, made by a network", _PROMPT),
    "CPT": RefusedKind("learnt tokens around the prompt", _PROMPT),
    "PREFIX_TUNING": RefusedKind("learnt keys and values before the first token", _PROMPT),
    "CARTRIDGE": RefusedKind("a learnt key-value cache", _PROMPT),
    "ADAPTION_PROMPT": RefusedKind("learnt prompts inside the attention of some layers", _PROMPT),
    "LOHA": RefusedKind("an elementwise product of two low-rank matrices", _DENSE, FOLD),
    "LOKR": RefusedKind("a Kronecker product of small matrices", _DENSE, FOLD),
    "HIRA": RefusedKind("an elementwise product of the base's weight and a low-rank matrix", _DENSE, FOLD),
    "SHIRA": RefusedKind("a sparse update of single weights", _DENSE, FOLD),
    "FOURIERFT": RefusedKind("an update given by some of its Fourier coefficients", _DENSE, FOLD),
    "WAVEFT": RefusedKind("an update given by some of its wavelet coefficients", _DENSE, FOLD),
    "C3A": RefusedKind("a block-circular convolution", _DENSE, FOLD),
    "OFT": RefusedKind("an orthogonal rotation of the base's weight", _ROTATION),
    "BOFT": RefusedKind("an orthogonal rotation of the base's weight, in butterfly factors", _ROTATION),
    "HRA": RefusedKind("a chain of Householder reflections of the base's weight", _ROTATION),
    "ROAD": RefusedKind("a rotation of pairs of a layer's outputs", _ROTATION),
    "VERA": RefusedKind("scales of random matrices that all modules share", _SHARED, FOLD),
    "PVERA": RefusedKind("scales of random matrices that all modules share, sampled", _SHARED, FOLD),
    "VBLORA": RefusedKind("factors put together from a bank of vectors", _SHARED, FOLD),
    "RANDLORA": RefusedKind("a scaled sum of random low-rank matrices", _SHARED, FOLD),
    "ADALORA": RefusedKind(
        "a LoRA whose rank was distributed over the modules in training",
        "its tensors are P, a diagonal and Q under other names than A and B",
        "Multiply the diagonal into B, leave out what was pruned, and upload a LoRA with a rank_pattern.",
    ),
    "XLORA": RefusedKind("a mixture of LoRAs with a classifier", _ROUTER, "Upload the LoRAs that it mixes."),
    "POLY": RefusedKind("a mixture of LoRAs chosen by task", _ROUTER, "Upload one LoRA per task."),
    "LN_TUNING": RefusedKind("new layer norms", _PARAMETERS),
    "BEFT": RefusedKind("new biases", _PARAMETERS),
    "TRAINABLE_TOKENS": RefusedKind("new embeddings of some tokens", _PARAMETERS),
}


def refused_kind(peft_type: object) -> RefusedKind:
    """What is known of a kind; of one without a row of its own what can be said of all."""
    unknown = RefusedKind(
        "no kind of adapter that this hub knows",
        "how its tensors change a layer is not known here, so they cannot be added to those of others",
    )
    return REFUSED_KINDS.get(peft_type, unknown) if isinstance(peft_type, str) else unknown
