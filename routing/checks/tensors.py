"""adapter_model.safetensors: a sound file whose tensors are the parts of an adapter on the base's modules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from routing.adapter_config import Settings, read_settings
from routing.adapter_layout import adapted_modules, layout_findings
from routing.config_document import CONFIG_FILE, is_literal, read_document
from routing.errors import BadAdapter
from routing.finding import Finding
from routing.spec import BaseSpec
from routing.tensor_header import TensorHeader, read_tensor_header
from routing.tensor_names import TENSOR_FILE

# PEFT's rule for a layer's index when `layers_pattern` is not given.
LAYER_INDEX = re.compile(r".*\.[^.]*\.(\d+)\.")
MAX_NAMED = 5


def tensor_file_is_sound(directory: Path, spec: BaseSpec) -> Iterator[Finding]:  # noqa: ARG001
    """Every name, type, shape and byte range is unambiguous before one byte of a tensor is believed."""
    try:
        if (directory / TENSOR_FILE).is_file():
            read_tensor_header(directory / TENSOR_FILE)
    except BadAdapter as error:
        yield from error.findings


def tensors_fit_the_base(directory: Path, spec: BaseSpec) -> Iterator[Finding]:
    """Every tensor is part of an update of a module of the base, in its widths and as it is declared."""
    if header := header_of(directory):
        yield from layout_findings(header, settings_of(directory), spec)


def tensors_are_the_declared_targets(directory: Path, spec: BaseSpec) -> Iterator[Finding]:
    """The adapted modules are those that `target_modules` names: none is missing, none is added.

    Understood only when it is a list of plain names, as PEFT writes it; a pattern of a stranger is not run.
    """
    header, declared = header_of(directory), _declared_targets(directory, spec)
    if header is None or declared is None:
        return
    present = {module for module in adapted_modules(header) if module in spec}
    fix = "Save tensors and configuration together, with PEFT's save_pretrained."
    if missing := sorted(declared - present):
        found = f"no tensors for {len(missing)} of {len(declared)} declared modules, such as {_some(missing)}"
        yield Finding("targets", "error", TENSOR_FILE, "", found, "tensors for every declared module", fix)
    if added := sorted(present - declared):
        found = f"tensors for {len(added)} modules that it does not name, such as {_some(added)}"
        yield Finding("targets", "error", CONFIG_FILE, "target_modules", found, "all adapted modules", fix)


def header_of(directory: Path) -> TensorHeader | None:
    """The tensor file's header if it is there and sound."""
    path = directory / TENSOR_FILE
    try:
        return read_tensor_header(path) if path.is_file() else None
    except BadAdapter:
        return None


def settings_of(directory: Path) -> Settings | None:
    """The adapter's settings if they are there and sound."""
    try:
        return read_settings(directory)
    except BadAdapter:
        return None


def _declared_targets(directory: Path, spec: BaseSpec) -> set[str] | None:
    """The modules that the configuration names, by PEFT's rule for plain names; None if it uses patterns."""
    try:
        document = read_document(directory)
    except BadAdapter:
        return None
    names, layers = document.get("target_modules"), _layers(document)
    if layers is None or document.get("layers_pattern") or document.get("exclude_modules"):
        return None
    if not isinstance(names, list) or not all(is_literal(name) for name in names):
        return None
    return {
        module.name
        for module in spec.target_modules
        if any(module.name == name or module.name.endswith(f".{name}") for name in names)
        and (not layers or _layer_of(module.name) in layers)
    }


def _layers(document: Mapping[str, Any]) -> list[int] | None:
    """The layers named by index, [] for all; None if they are named in another way."""
    layers = document.get("layers_to_transform")
    if layers is None or type(layers) is int:
        return [] if layers is None else [layers]
    return layers if isinstance(layers, list) and all(type(layer) is int for layer in layers) else None


def _layer_of(module: str) -> int | None:
    match = LAYER_INDEX.match(module)
    return int(match[1]) if match else None


def _some(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMED])
