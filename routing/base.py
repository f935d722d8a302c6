"""Base models: found, pinned by digests, loaded, and described as a table of target modules."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import align_module_device
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from routing.digests import digest_of, digest_of_file
from routing.errors import UnsupportedBase, WrongBase
from routing.family import FAMILIES, Family, family_of
from routing.rotary import keep_passes_apart
from routing.spec import BaseRef, BaseSpec, TargetModule
from routing.spread import Devices, Spread, places
from routing.tokenizer_files import tokenizer_file_digests

DOWNLOADED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
UNSTATED_CONTEXT = 2048  # for the few architectures without learnt or stated positions
POWER_ITERATIONS = 12
# A constant, so that nobody is ever asked on standard input whether a stranger's code may run.
NO_REMOTE_CODE = {"trust_remote_code": False, "local_files_only": True}
# What transformers raises where it cannot make a model of a folder.
LOADING_FAILS = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError)


@dataclass(frozen=True)
class Base:
    """A loaded base model in evaluation mode, with what was known of it before.

    `device` is where its inputs go; `places` says where each target module computes, where a base is spread.
    """

    spec: BaseSpec
    model: Any
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    ref: BaseRef
    places: Mapping[str, torch.device] | None = None

    @property
    def devices(self) -> Devices:
        """Where its experts belong: one device, or one for each target module."""
        return self.device if self.places is None else self.places

    @property
    def family(self) -> Family:
        """How it reads and continues."""
        return FAMILIES[self.spec.family]


def inspect_base(ref: BaseRef, *, name: str) -> BaseSpec:
    """Describe and pin the base model at `ref`; UnsupportedBase if it is no text-to-text LM."""
    folder = local_folder(ref)
    model = load_model(folder, "auto")
    modules = tuple(_describe(path, layer, _spectral_norm(layer)) for path, layer in target_layers(model))
    return _spec(folder, model, name=name, target_modules=modules)


def load_base(
    ref: BaseRef | str | Path,
    *,
    spec: BaseSpec | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    spread: Spread | None = None,
) -> Base:
    """Load the base at `ref` (a folder or a hub id may stand for it) for inference.

    With a spread it goes where that says, and `device` is not asked.
    WrongBase, naming the fields, if it is not what `spec` pins; UnsupportedBase if it cannot be loaded.
    """
    ref = ref if isinstance(ref, BaseRef) else BaseRef(str(ref))
    folder = local_folder(ref)
    if spec is not None:
        refuse_another_base(spec, folder)
    model = load_model(folder, dtype, spread)
    if spec is None:
        modules = tuple(_describe(path, layer, _spectral_norm(layer)) for path, layer in target_layers(model))
        name = folder.name if Path(ref.source).is_dir() else ref.source
        spec = _spec(folder, model, name=name, target_modules=modules)
    if spread is None:
        return base_of(ref, folder, spec, model.to(device), device=torch.device(device), dtype=dtype)
    base = base_of(ref, folder, spec, model, device=_entrance(model), dtype=dtype)
    return replace(base, places=places(model, [one.name for one in spec.target_modules]))


def base_of(
    ref: BaseRef, folder: Path, spec: BaseSpec, model: Any, *, device: torch.device, dtype: torch.dtype
) -> Base:
    """The base whose model was read from this folder, for inference."""
    tokenizer = AutoTokenizer.from_pretrained(folder, **NO_REMOTE_CODE)
    keep_passes_apart(model)
    return Base(spec, model.eval().requires_grad_(False), tokenizer, device, dtype, ref)  # noqa: FBT003


def refuse_another_base(spec: BaseSpec, folder: Path) -> None:
    """WrongBase, naming the fields, if the files in this folder are not those that `spec` pins."""
    found = {
        "config_digest": config_digest(folder),
        "tokenizer_digest": tokenizer_digest(folder),
        "weights_digest": weights_digest(folder),
    }
    wrong = [
        f"{field}: found {digest}, expected {getattr(spec, field)}"
        for field, digest in found.items()
        if digest != getattr(spec, field)
    ]
    if wrong:
        raise WrongBase(f"{folder} is not the registered base {spec.name!r}: {'; '.join(wrong)}")


def local_folder(ref: BaseRef) -> Path:
    """The folder that holds the base's files: `ref` itself, or its snapshot in the Hugging Face cache."""
    if os.path.isdir(ref.source):  # noqa: PTH112 - an id that is no path must not become one
        return Path(ref.source).resolve()
    try:
        return Path(snapshot_download(ref.source, revision=ref.revision, allow_patterns=DOWNLOADED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        revision = f" at revision {ref.revision}" if ref.revision else ""
        raise UnsupportedBase(
            f"{ref.source!r}{revision} is no folder here, nor a model that could be fetched: {error}"
        ) from error


def target_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Every Linear and Conv1D with its dotted name, in the model's order, except the output head."""
    head = model.get_output_embeddings()
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear | Conv1D) and layer is not head:
            yield name, layer


def widths(layer: Any) -> tuple[int, int]:
    """(d_in, d_out) of a target layer; Conv1D keeps its weight as [d_in, d_out], Linear as [d_out, d_in]."""
    rows, columns = layer.weight.shape
    return (rows, columns) if isinstance(layer, Conv1D) else (columns, rows)


def config_digest(folder: Path) -> str:
    """The sha256 of config.json."""
    path = folder / "config.json"
    if not path.is_file():
        raise UnsupportedBase(f"{path}: not found; a base model is a Hugging Face folder with a config.json")
    return digest_of_file(path)


def tokenizer_digest(folder: Path) -> str:
    """The sha256 of the concatenated sha256 digests (hex, in file-name order) of the tokenizer's files."""
    files = [folder / name for name in tokenizer_file_digests(folder)]
    return digest_of("".join(digest_of_file(path) for path in files).encode())


def weights_digest(folder: Path) -> str:
    """The sha256 of the concatenated sha256 digests (hex, in file-name order) of the weight files."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UnsupportedBase(
            f"{folder}: no *.safetensors; a base model's weights are read from nothing else"
        )
    return digest_of("".join(digest_of_file(path) for path in files).encode())


def load_model(folder: Path, dtype: torch.dtype | str, spread: Spread | None = None) -> Any:
    """The model in this folder as transformers loads it; UnsupportedBase if it cannot."""
    where = {} if spread is None else spread.options
    try:
        loader = family_of(AutoConfig.from_pretrained(folder, **NO_REMOTE_CODE)).loader
        return loader.from_pretrained(folder, dtype=dtype, use_safetensors=True, **where, **NO_REMOTE_CODE)
    except LOADING_FAILS as error:
        raise UnsupportedBase(
            f"{folder}: transformers cannot load this as a causal or an encoder-decoder LM: {error}"
        ) from error


def _entrance(model: Any) -> torch.device:
    """Where a spread model takes its tokens."""
    entrance = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is entrance)
    return places(model, [name])[name]


def _describe(name: str, layer: Any, spectral_norm: float) -> TargetModule:
    d_in, d_out = widths(layer)
    return TargetModule(name, "conv1d" if isinstance(layer, Conv1D) else "linear", d_in, d_out, spectral_norm)


def _spec(folder: Path, model: Any, *, name: str, target_modules: tuple[TargetModule, ...]) -> BaseSpec:
    if not target_modules:
        raise UnsupportedBase(f"{folder}: {type(model).__name__} has no Linear or Conv1D layer to modify")
    text = model.config.get_text_config()
    return BaseSpec(
        name=name,
        architecture=type(model).__name__,
        revision=folder.name if folder.parent.name == "snapshots" else None,
        config_digest=config_digest(folder),
        tokenizer_digest=tokenizer_digest(folder),
        weights_digest=weights_digest(folder),
        vocabulary=model.get_input_embeddings().weight.shape[0],
        context=getattr(text, "max_position_embeddings", None) or UNSTATED_CONTEXT,
        target_modules=target_modules,
        tokenizer_files=tokenizer_file_digests(folder),
        family=family_of(model.config).name,
    )


@torch.no_grad()
def _spectral_norm(layer: Any) -> float:
    """An estimate of the largest singular value of the layer's weight, from below, to three digits.

    A few power iterations from a seeded start. It only says what a plausible update is; three digits keep
    the description of one base equal on machines that round differently.
    """
    with align_module_device(layer):  # of a spread base it may lie in a file
        weight: Float[Tensor, "rows columns"] = layer.weight.detach().float().cpu()
    direction = torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(0))
    for _ in range(POWER_ITERATIONS):
        image = weight @ direction
        direction = torch.nn.functional.normalize(weight.T @ image, dim=0)
    return float(f"{torch.linalg.vector_norm(weight @ direction).item():.3g}")
