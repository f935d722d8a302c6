"""Uploaded adapters, read by a reader of our own: nothing but the updates of known modules leaves the file.

PEFT's own loader copies any tensor whose name fits anything, the base's weights included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from routing.adapter_config import read_settings
from routing.ia3_config import Ia3Settings
from routing.ia3_layout import scale_entries
from routing.lora_config import LoraSettings
from routing.lora_layout import factor_pairs
from routing.spec import BaseSpec
from routing.tensor_header import TensorEntry, TensorHeader, read_tensor_header
from routing.tensor_names import TENSOR_FILE

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
class Dora:
    """One module's DoRA (arXiv 2402.09353): W0 + scaling B A, each row brought to a learnt length."""

    low_rank: LowRank
    magnitude: Float[Tensor, " d_out"]


@dataclass(frozen=True)
class OutputScale:
    """One module's (IA)^3 (arXiv 2205.05638) on keys and values: a factor per output, bias included."""

    scale: Float[Tensor, " d_out"]


@dataclass(frozen=True)
class InputScale:
    """One module's (IA)^3 inside a feed-forward block: a factor for each input."""

    scale: Float[Tensor, " d_in"]


ModuleUpdate = LowRank | Dora | OutputScale | InputScale


@dataclass(frozen=True)
class Adapter:
    """An adapter's updates by module name, in the base's order."""

    modules: Mapping[str, ModuleUpdate]

    @property
    def low_rank(self) -> dict[str, LowRank]:
        """The plain LoRA updates among them."""
        return {name: update for name, update in self.modules.items() if isinstance(update, LowRank)}

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(parameters(update) for update in self.modules.values())


def parameters(update: ModuleUpdate) -> int:
    """How many numbers an update was given by."""
    match update:
        case LowRank(a, b, _):
            return a.numel() + b.numel()
        case Dora(low_rank, magnitude):
            return parameters(low_rank) + magnitude.numel()
        case OutputScale(scale) | InputScale(scale):
            return scale.numel()


def read_adapter(directory: Path, spec: BaseSpec) -> Adapter:
    """Read a PEFT folder for the base `spec`; BadAdapter with every finding if they do not fit."""
    settings = read_settings(directory)
    path = directory / TENSOR_FILE
    header = read_tensor_header(path)
    if isinstance(settings, Ia3Settings):
        return _read_ia3(path, header, settings, spec)
    return _read_lora(path, header, settings, spec)


def _read_lora(path: Path, header: TensorHeader, settings: LoraSettings, spec: BaseSpec) -> Adapter:
    modules: dict[str, ModuleUpdate] = {}
    for pair in factor_pairs(header, settings, spec):
        low_rank = LowRank(
            read_tensor(path, pair.a, header.data_start),
            read_tensor(path, pair.b, header.data_start),
            settings.scaling_of(pair.module),
        )
        modules[pair.module] = (
            low_rank
            if pair.magnitude is None
            else Dora(low_rank, read_tensor(path, pair.magnitude, header.data_start))
        )
    return Adapter(modules)


def _read_ia3(path: Path, header: TensorHeader, settings: Ia3Settings, spec: BaseSpec) -> Adapter:
    modules: dict[str, ModuleUpdate] = {}
    for entry in scale_entries(header, settings, spec):
        scale = read_tensor(path, entry.scale, header.data_start).flatten()
        modules[entry.module] = InputScale(scale) if entry.on_input else OutputScale(scale)
    return Adapter(modules)


def read_tensor(path: Path, entry: TensorEntry, data_start: int) -> Float[Tensor, "*shape"]:
    """One tensor of a safetensors file as float32; copied: a mapped file that changes kills its reader."""
    with path.open("rb") as stream:
        stream.seek(data_start + entry.begin)
        content = bytearray(stream.read(entry.end - entry.begin))
    return torch.frombuffer(content, dtype=DTYPES[entry.dtype]).reshape(entry.shape).float()
