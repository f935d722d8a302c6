"""Dense weights in 8 bits each, or in 4, and how far the model then is from the one that was rounded.

Weights are rounded to the nearest step and nothing is learnt from data, so the same weights give the same
bytes. How far off they are depends on the model, and is measured on what was written: it is loaded as whoever
downloads it loads it, and asked about texts that the unrounded model drew from itself. Over these the mean of
the Kullback-Leibler divergence is what a token of its answers loses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float32, Int
from torch import Tensor, nn

from routing.base import NO_REMOTE_CODE, Base
from routing.errors import BadCheckpoint
from routing.neutral import neutral_tokens
from routing.spec import BaseSpec

LIBRARY = "compressed-tensors==0.20.0"
GROUPS: dict[int, tuple[int | None, ...]] = {8: (None,), 4: (128, 64, 32)}  # those that vLLM has kernels for
ON_CPUS = (4,)  # what vLLM computes with where there is no GPU
TEXTS, LENGTH = 16, 32
DIGITS = 3


@dataclass(frozen=True)
class Rounding:
    """How weights are rounded: to so many `bits`, with one scale for `group` inputs of a row (None: all)."""

    bits: int
    group: int | None


@dataclass(frozen=True)
class Difference:
    """Of a rounded model from the unrounded one, over so many `tokens` of text.

    `mean` and `largest` Kullback-Leibler divergence of what comes next after a token, in nats, and the share
    of tokens after which the `same` next one is likeliest.
    """

    tokens: int
    mean: float
    largest: float
    same: float


@dataclass(frozen=True)
class Quantised:
    """What was written: how it was rounded by which library, how large the weights are and were, in bytes."""

    rounding: Rounding
    library: str
    size: int
    unrounded: int
    difference: Difference

    @property
    def description(self) -> dict[str, Any]:
        """As plain JSON."""
        off = self.difference
        return {
            "bits": self.rounding.bits,
            "group": self.rounding.group,
            "format": self.library,
            "bytes": self.size,
            "unquantised_bytes": self.unrounded,
            "difference": {
                "tokens": off.tokens,
                "kl_mean": off.mean,
                "kl_largest": off.largest,
                "same_likeliest": off.same,
            },
        }


def rounding_for(spec: BaseSpec, bits: int) -> Rounding:
    """How this base's weights are rounded to so many bits; BadCheckpoint if they cannot be."""
    if bits not in GROUPS:
        raise BadCheckpoint(f"bits: found {bits}, expected {' or '.join(map(str, GROUPS))}")
    if spec.family != "causal":
        raise BadCheckpoint(
            f"bits: {spec.name} is an encoder-decoder, expected a causal base, since transformers does not "
            "load packed weights of others; leave bits out"
        )
    strange = next((module for module in spec.target_modules if module.kind != "linear"), None)
    if strange is not None:
        raise BadCheckpoint(
            f"bits: {strange.name} of {spec.name} is a {strange.kind} layer, expected linear layers alone, "
            "since others have no packed weights; leave bits out"
        )
    for group in GROUPS[bits]:
        if group is None or all(module.d_in % group == 0 for module in spec.target_modules):
            return Rounding(bits, group)
    smallest = GROUPS[bits][-1]
    odd = next(module for module in spec.target_modules if module.d_in % (smallest or 1))
    raise BadCheckpoint(
        f"bits: {odd.name} of {spec.name} has {odd.d_in} inputs, expected a multiple of {smallest} for "
        f"{bits} bits; take 8"
    )


def library() -> ModuleType:
    """What rounds and packs; BadCheckpoint, with the command, where it is not installed."""
    try:
        from routing import compressing  # noqa: PLC0415 - an option, and slow to import
    except ImportError as error:
        raise BadCheckpoint(
            f"bits: rounded weights are written by a library that is not installed ({error}): "
            f"pip install '{LIBRARY}'"
        ) from error
    return compressing


def write_quantised(base: Base, directory: Path, rounding: Rounding) -> Quantised:
    """Round the base's weights in place, write them with their configuration, load that and compare.

    The output head and the vocabulary stay as they are. Raises BadCheckpoint if a layer cannot be rounded or
    what was written does not load, or says nothing finite.
    """
    compressing = library()
    _refuse_stacked(base)
    modules = [module.name for module in base.spec.target_modules]
    unrounded = _bytes(base.model)
    text = neutral_tokens(base, sequences=TEXTS, length=LENGTH).long()
    before = log_probabilities(base, base.model, text)
    compressing.save_compressed(
        base.model, directory, modules=modules, bits=rounding.bits, group=rounding.group
    )
    after = log_probabilities(base, _loaded(base, directory), text)
    size = sum(path.stat().st_size for path in directory.glob("*.safetensors"))
    made_by = f"compressed-tensors {compressing.VERSION}"
    return Quantised(rounding, made_by, size, unrounded, difference(before, after))


@torch.inference_mode()
def log_probabilities(
    base: Base, model: Any, text: Int[Tensor, "texts length"]
) -> Float32[Tensor, "texts length vocabulary"]:
    """What the model says of the next token at each token, in the base's own dtype until the very end."""
    rows = [model(**base.family.neutral(model, row.unsqueeze(0))).logits for row in text.to(base.device)]
    return torch.cat(rows).float().log_softmax(-1).cpu()


def difference(
    before: Float32[Tensor, "texts length vocabulary"], after: Float32[Tensor, "texts length vocabulary"]
) -> Difference:
    """Of the second from the first; BadCheckpoint if one is not finite."""
    lost = torch.stack(
        [(said.exp() * (said - then)).sum(-1) for said, then in zip(before, after, strict=True)]
    )
    if not bool(torch.isfinite(lost).all()):
        raise BadCheckpoint("bits: the rounded weights give log-probabilities that are not finite")
    same = (before.argmax(-1) == after.argmax(-1)).float().mean()
    return Difference(
        lost.numel(), *(_short(max(0.0, float(value))) for value in (lost.mean(), lost.max(), same))
    )


def _refuse_stacked(base: Base) -> None:
    """BadCheckpoint for bases that keep the weights of many small networks in one tensor (mixtures)."""
    convolutions = nn.Conv1d | nn.Conv2d | nn.Conv3d
    for path, layer in base.model.named_modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if parameter.dim() > 2 and not isinstance(layer, convolutions):  # noqa: PLR2004 - rows and columns
                raise BadCheckpoint(
                    f"bits: {path}.{name} of {base.spec.name} has shape {tuple(parameter.shape)}, expected "
                    "rows and columns, since stacked weights are not packed; leave bits out"
                )


def _loaded(base: Base, directory: Path) -> Any:
    """The model as anybody loads it, in evaluation mode."""
    try:
        model = base.family.loader.from_pretrained(directory, dtype="auto", **NO_REMOTE_CODE)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError) as error:
        raise BadCheckpoint(
            f"bits: transformers does not load the rounded weights of this base: {error}"
        ) from error
    return model.to(base.device).eval()


def _bytes(model: Any) -> int:
    """Of all numbers; those of tied weights once."""
    return sum(parameter.nbytes for parameter in model.parameters())


def _short(value: float) -> float:
    """So many digits as say something."""
    return 0.0 if value == 0 else round(value, DIGITS - 1 - math.floor(math.log10(value)))
