"""Uploads to be checked: one good adapter, and the ways to spoil it."""

from __future__ import annotations

import functools
import json
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from routing.base import inspect_base
from routing.spec import BaseRef, BaseSpec
from tests.tiny import tiny_adapter, tiny_llama

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
FIRST = "base_model.model.model.layers.0.self_attn.q_proj"

Spoil = Callable[[Path], object]


@functools.cache
def spec() -> BaseSpec:
    return inspect_base(BaseRef(str(tiny_llama())), name=f"someone/{tiny_llama().name}")


@functools.cache
def _good() -> Path:
    folder = tiny_llama().parent / "good-adapter"
    return tiny_adapter(folder) if not folder.exists() else folder


def good_upload(directory: Path) -> Path:
    return Path(shutil.copytree(_good(), directory, dirs_exist_ok=True))


def good_header() -> tuple[dict[str, Any], bytes]:
    """The header and the data of the good adapter's tensor file."""
    content = (_good() / TENSORS).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def set_config(**changes: Any) -> Spoil:
    def spoil(directory: Path) -> None:
        path = directory / CONFIG
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def write_config(content: bytes) -> Spoil:
    return lambda directory: (directory / CONFIG).write_bytes(content)


def edit_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Spoil:
    def spoil(directory: Path) -> None:
        tensors = load_file(directory / TENSORS)
        change(tensors)
        save_file(
            {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()},
            directory / TENSORS,
        )

    return spoil


def edit_header(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Change the header as JSON and keep the data."""

    def spoil(directory: Path) -> None:
        header, data = good_header()
        change(header)
        write_raw(directory, json.dumps(header).encode(), data)

    return spoil


def replace_header(content: bytes, *, length: int | None = None, data: bytes = b"") -> Spoil:
    return lambda directory: write_raw(directory, content, data, length=length)


def write_raw(directory: Path, header: bytes, data: bytes, *, length: int | None = None) -> None:
    size = struct.pack("<Q", len(header) if length is None else length)
    (directory / TENSORS).write_bytes(size + header + data)


def write_file(name: str, content: bytes = b"x") -> Spoil:
    def spoil(directory: Path) -> None:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)

    return spoil


def scratch_folder() -> Path:
    return Path(tempfile.mkdtemp(dir=tiny_llama().parent))
