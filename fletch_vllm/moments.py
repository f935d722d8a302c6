"""Moments beside a checkpoint: mean and deviation of every score on neutral text, for routers that need them.

They take a pass of the plain base over the library's neutral text. That is done once, in an ordinary process
(`fletch-vllm calibrate`), and not again in each process of an engine.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fletch_vllm.errors import NotServable
from routing.checkpoint import load_checkpoint, manifest_inside
from routing.digests import digest_of
from routing.index import IndexManifest
from routing.pack import ModulePack, Moments, Pack
from routing.scores import SCORES

FILE = "moments.safetensors"


def write_moments(folder: Path, *, device: str = "cpu") -> Path:
    """Measure a routed checkpoint's moments and write them beside it; NotServable without neutral text."""
    pack = load_checkpoint(folder, device=device).pack
    if pack.neutral is None:
        raise NotServable(["its index version names no neutral text, so no score in it can be calibrated"])
    tensors = {
        f"{module}/{kind}": torch.stack(list(experts.moments[kind])).cpu()
        for module, experts in pack.modules.items()
        for kind in SCORES
    }
    save_file(tensors, folder / FILE, {"for": _of(manifest_inside(folder), pack.neutral)})
    return folder / FILE


def read_moments(folder: Path, pack: Pack, manifest: IndexManifest) -> Pack:
    """The pack with what `write_moments` measured; NotServable if that is missing or of another version."""
    path = folder / FILE
    if manifest.calibration is None:
        raise NotServable(["its index version names no neutral text, so no score in it can be calibrated"])
    again = f"run `fletch-vllm calibrate {folder}` once"
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("for") != _of(manifest_inside(folder), manifest.calibration):
                raise NotServable([f"{path}: measured for another index version; {again}"])
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise NotServable(
            [f"its router looks at calibrated scores, and {path} is not there: {error}; {again}"]
        ) from error
    modules = {name: _told(module, name, found) for name, module in pack.modules.items()}
    return replace(pack, modules=modules, neutral=manifest.calibration)


def _told(module: ModulePack, name: str, found: dict[str, torch.Tensor]) -> ModulePack:
    moments = {}
    for kind in SCORES:
        tensor = found.get(f"{name}/{kind}")
        if tensor is None or tensor.shape != (2, len(module)):
            raise NotServable([f"{FILE}: {name}/{kind} is not [2, {len(module)}]; calibrate again"])
        moments[kind] = Moments(tensor[0], tensor[1])
    return replace(module, moments=moments)


def _of(manifest: str, neutral: str) -> str:
    """By what a file of moments is known: the experts and the text that they were measured on."""
    return digest_of(f"{manifest} {neutral}".encode())
