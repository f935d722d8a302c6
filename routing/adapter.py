"""Uploaded LoRA adapters, read by a reader of our own: nothing but A and B of known modules leaves the file.

PEFT's own loader copies any tensor whose name fits anything, the base's weights included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from routing.lora_config import read_settings
from routing.lora_layout import TENSOR_FILE, factor_pairs
from routing.spec import BaseSpec
from routing.tensor_header import TensorEntry, read_tensor_header

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class LowRank:
    """One module's update, scaling x B A, as it was uploaded (in float32)."""

    a: Float[Tensor, "rank d_in"]
    b: Float[Tensor, "d_out rank"]
    scaling: float

    @property
    def rank(self) -> int:
        """The rank as uploaded; the update's own may be lower."""
        return self.a.shape[0]


@dataclass(frozen=True)
class Adapter:
    """An adapter's updates by module name, in the base's order."""

    modules: Mapping[str, LowRank]


def read_adapter(directory: Path, spec: BaseSpec) -> Adapter:
    """Read a PEFT LoRA folder for the base `spec`; BadAdapter with every finding if they do not fit."""
    settings = read_settings(directory)
    path = directory / TENSOR_FILE
    header = read_tensor_header(path)
    pairs = factor_pairs(header, settings, spec)
    return Adapter(
        {
            pair.module: LowRank(
                read_tensor(path, pair.a, header.data_start),
                read_tensor(path, pair.b, header.data_start),
                settings.scaling_of(pair.module),
            )
            for pair in pairs
        }
    )


def read_tensor(path: Path, entry: TensorEntry, data_start: int) -> Float[Tensor, "rows columns"]:
    """One matrix of a safetensors file as float32; copied: a mapped file that changes kills its reader."""
    with path.open("rb") as stream:
        stream.seek(data_start + entry.begin)
        content = bytearray(stream.read(entry.end - entry.begin))
    return torch.frombuffer(content, dtype=DTYPES[entry.dtype]).reshape(entry.shape).float()
