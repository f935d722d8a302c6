"""Weights rounded and packed by compressed-tensors, vLLM's library; transformers loads its format too.

Imported by `routing.quantised` alone, when it is wanted: whoever writes no such checkpoint does without.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import compressed_tensors
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    QuantizationScheme,
    apply_quantization_config,
)
from compressed_tensors.quantization.utils import calculate_qparams
from torch import nn

VERSION = str(compressed_tensors.__version__)


def save_compressed(
    model: Any, directory: Path, *, modules: Collection[str], bits: int, group: int | None
) -> None:
    """Round the weights of these linear layers in place, and write the model so.

    To the nearest of 2^bits steps around zero (signed, no zero point), the largest weight of a group the
    outermost; a group is so many inputs of one row, None: the row. Nothing else of the model changes.
    """
    args = QuantizationArgs(
        num_bits=bits,
        type="int",
        symmetric=True,
        strategy="channel" if group is None else "group",
        group_size=group,
    )
    others = [
        name for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and name not in modules
    ]
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    config = QuantizationConfig(config_groups={"group_0": scheme}, ignore=others)
    apply_quantization_config(model, config, show_progress=False)
    for name in modules:
        _scale(model.get_submodule(name), args, group)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(directory)
    compressor.update_config(str(directory))


def _scale(layer: Any, args: QuantizationArgs, group: int | None) -> None:
    """The width of a step in each group, by the library's own rule for its least and largest weight."""
    weight = layer.weight.data
    groups = weight.unflatten(-1, (-1, weight.shape[-1] if group is None else group))
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
    layer.weight_scale.data.copy_(scale)
    layer.weight_zero_point.data.copy_(zero)
