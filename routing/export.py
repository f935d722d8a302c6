"""Exports for other software, one standard PEFT adapter or dense weights: the experts merged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig

from routing.base import NO_REMOTE_CODE, load_base, local_folder
from routing.checkpoint import (
    Progress,
    Source,
    counted,
    expert_list,
    prepare,
    quiet,
    write_description,
    written,
)
from routing.dense import DenseUpdate
from routing.errors import BadCheckpoint
from routing.factors import Factors, dense, outlined
from routing.family import FAMILIES
from routing.index import IndexManifest
from routing.merge import Merged, MergePlan, at_rank, description, merge_experts
from routing.quantised import ON_CPUS, Quantised, rounding_for, write_quantised
from routing.scales import bias_change, changes_bias
from routing.weights import Layer, Layers, layers_of

MEAN = MergePlan()
ADAPTER_README = """# {count} of {base} as one LoRA adapter

{merge}

Cut to rank {rank}, by which {lost:.2%} of the squared norm is lost.

```python
from peft import PeftModel
from transformers import {loader}

base = {loader}.from_pretrained("{source}")
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```

A merge is not a routed model: every expert speaks everywhere.

Experts:

{experts}
"""

MERGED_README = """# {base} with {count} merged into its weights

{merge}

The sum is the base with these updates. It loads like any model:

```python
from transformers import {loader}, AutoTokenizer

model = {loader}.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```

{rounded}A merge is not a routed model: every expert speaks everywhere.

Experts:

{experts}
"""

ROUNDED_README = """The weights of its layers have {bits} bits, with one scale {scales}; vocabulary and output
head are as they were. transformers needs a package that unpacks them before it first computes:

```sh
pip install compressed-tensors
```

vLLM brings it, and computes with what is packed: `vllm serve path/to/this/folder`{where}.

It takes {size} MB instead of {unrounded} MB. What rounding changed was measured on {tokens} tokens that the
model had drawn from itself before: its distribution of the next token is off by {mean:.3g} nats on average
(Kullback-Leibler divergence; {largest:.3g} at most), and after {same:.1%} of the tokens the same next one is
the likeliest.

"""


def write_adapter(
    directory: Path,
    source: Source,
    *,
    rank: int,
    plan: MergePlan = MEAN,
    experts: Sequence[str] | None = None,
    progress: Progress = quiet,
) -> list[Path]:
    """Write these experts (None: all but the general ones), merged, as one PEFT LoRA of this rank or less.

    Returns the files; `fletch.json` says how they were merged and what each module loses of its squared norm.
    Raises BadCheckpoint if the folder is not empty, the rank below 1, nothing is left or what is left changes
    biases, as (IA)^3 may and no LoRA can; BadMerge for a plan that does not fit; RoutingError for an unknown
    expert.
    """
    if rank < 1:
        raise BadCheckpoint(f"rank: found {rank}, expected at least 1")
    prepare(directory)
    manifest = source.subset(experts or source.speakers)
    layers = _loaded_when_asked(source)
    cut = _cut(_merged(source, manifest, plan, progress, layers), rank, layers)
    widest = max(factors.rank for factors, _ in cut.values())
    tensors: dict[str, Tensor] = {}
    for name, (factors, _) in cut.items():
        (
            tensors[f"base_model.model.{name}.lora_A.weight"],
            tensors[f"base_model.model.{name}.lora_B.weight"],
        ) = _balanced(factors, widest)
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    config = _lora_config(source, list(cut), widest)
    (directory / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    lost = {name: share for name, (_, share) in cut.items()}
    told = {
        "rank": widest,
        "lost_energy": lost,
        "merge": description(plan, [entry.adapter for entry in manifest.experts]),
    }
    _describe(directory, "adapter", source, manifest, told)
    readme = ADAPTER_README.format(
        count=counted(manifest),
        base=source.spec.name,
        loader=_loader(source),
        rank=widest,
        lost=_lost(cut),
        merge=_sentence(plan),
        source=_public_source(source),
        experts=expert_list(manifest),
    )
    (directory / "README.md").write_text(readme, encoding="utf-8")
    return written(directory)


def write_merged(
    directory: Path,
    source: Source,
    *,
    plan: MergePlan = MEAN,
    experts: Sequence[str] | None = None,
    bits: int | None = None,
    progress: Progress = quiet,
) -> list[Path]:
    """Write the base with these experts (None: all but the general ones) merged into its weights, in the
    base's own dtype and layout; with `bits`, 8 or 4, the weights of its layers are then rounded to so many.

    Returns the files; `fletch.json` says how they were merged and what rounding changes. Raises BadCheckpoint
    if the folder is not empty, nothing is left or these weights cannot be rounded so, BadMerge for a plan
    that does not fit, RoutingError for an unknown expert, WrongBase if the base on this machine is another.
    """
    rounding = None if bits is None else rounding_for(source.spec, bits)
    prepare(directory)
    manifest = source.subset(experts or source.speakers)
    folder = local_folder(source.base)
    base = load_base(source.base, spec=source.spec, dtype=_stored_dtype(folder))
    for name, update in _merged(source, manifest, plan, progress, layers_of(base)).items():
        layer, kind = base.model.get_submodule(name), source.spec.module(name).kind
        if isinstance(update, DenseUpdate):
            _add_rows(layer, update, kind)
        else:
            _add(layer, update, kind)
    told: dict[str, Any] = {"merge": description(plan, [entry.adapter for entry in manifest.experts])}
    rounded = ""
    if rounding is None:
        base.model.save_pretrained(directory)
    else:
        count = len(manifest.experts)
        progress(
            count, count, f"rounding the weights to {rounding.bits} bits, and measuring what that changes"
        )
        quantised = write_quantised(base, directory, rounding)
        told["quantised"], rounded = quantised.description, _rounded(quantised)
    for name in source.spec.tokenizer_files:
        shutil.copyfile(folder / name, directory / name)
    _describe(directory, "merged", source, manifest, told)
    readme = MERGED_README.format(
        base=source.spec.name,
        loader=_loader(source),
        count=counted(manifest),
        experts=expert_list(manifest),
        merge=_sentence(plan),
        rounded=rounded,
    )
    (directory / "README.md").write_text(readme, encoding="utf-8")
    return written(directory)


def _loaded_when_asked(source: Source) -> Layers:
    """The layers of the base, which few experts need: it is loaded when the first is asked for."""

    @cache
    def loaded() -> Layers:
        return layers_of(load_base(source.base, spec=source.spec))

    def layer(name: str) -> Layer:
        return loaded()(name)

    return layer


def _merged(
    source: Source, manifest: IndexManifest, plan: MergePlan, progress: Progress, layers: Layers
) -> dict[str, Merged]:
    plan.shares([entry.adapter for entry in manifest.experts])  # refuses before anything is read
    read = {}
    for done, entry in enumerate(manifest.experts):
        read[entry.adapter] = source.store.read_factors(entry)
        progress(done + 1, len(manifest.experts), entry.adapter)
    names = [module.name for module in source.spec.target_modules]
    merged = merge_experts(read, plan, modules=names, layers=layers)
    if not merged:
        raise BadCheckpoint("experts: merged they are nothing; there is nothing to write")
    return merged


def _cut(merged: Mapping[str, Merged], rank: int, layers: Layers) -> dict[str, tuple[Factors, float]]:
    """The best of this rank of each module, with the share of its squared norm that is lost.

    An update that works through the base's weight has full rank, and needs that weight to find its best.
    """
    scaled = {
        name: update
        for name, update in merged.items()
        if isinstance(update, Factors) and update.scales is not None
    }
    cut = {name: at_rank(update, rank) for name, update in merged.items() if name not in scaled}
    cut |= {name: _best(name, update, layers(name), rank) for name, update in scaled.items()}
    left = {name: cut[name] for name in merged if cut[name][0].rank}
    if not left:
        raise BadCheckpoint("experts: merged they are nothing; there is nothing to write")
    return left


def _best(name: str, factors: Factors, layer: Layer, rank: int) -> tuple[Factors, float]:
    """The best of this rank of an update with scales; BadCheckpoint where it changes the bias."""
    if layer.bias is not None and factors.scales is not None and changes_bias(factors.scales, layer.bias):
        raise BadCheckpoint(
            f"{name}: an (IA)^3 there also scales the bias, which no LoRA can; export `merged`"
        )
    found = outlined(name, factors, layer, rank=rank)
    return (found.leading, max(0.0, 1.0 - found.known.energy)) if found.scales else (found, 0.0)


def _lost(cut: Mapping[str, tuple[Factors, float]]) -> float:
    """The share of the whole squared norm that is lost by all cuts together."""
    kept = {name: float(factors.sigma.double().square().sum()) for name, (factors, _) in cut.items()}
    whole = sum(kept[name] / (1.0 - share) for name, (_, share) in cut.items())
    return max(0.0, 1.0 - sum(kept.values()) / whole)


def _sentence(plan: MergePlan) -> str:
    """How they were merged, for a README."""
    parts = {
        "scale": plan.scale if plan.scale != 1.0 else None,
        "density": plan.kept if plan.kept < 1.0 else None,
        "seed": plan.seed if plan.method.startswith("dare") else None,
    }
    said = "".join(f", {name} {value}" for name, value in parts.items() if value is not None)
    shares = "equal shares" if plan.weights is None else "weights as in `fletch.json`"
    return f"Their updates are merged by the method `{plan.method}`, {shares}{said}."


def _rounded(quantised: Quantised) -> str:
    """What a README says of rounded weights."""
    rounding, off = quantised.rounding, quantised.difference
    return ROUNDED_README.format(
        bits=rounding.bits,
        where="" if rounding.bits in ON_CPUS else " (on GPUs; on CPUs it knows 4 bits alone)",
        scales="a row" if rounding.group is None else f"for {rounding.group} numbers of a row",
        size=_megabytes(quantised.size),
        unrounded=_megabytes(quantised.unrounded),
        tokens=off.tokens,
        mean=off.mean,
        largest=off.largest,
        same=off.same,
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.3g}" if size < 1e9 else f"{size / 1e6:,.0f}"  # noqa: PLR2004


def _balanced(factors: Factors, rank: int) -> tuple[Tensor, Tensor]:
    """A and B of equal norms in each direction, filled up with zeros to one rank, as loaders expect."""
    root = factors.sigma.sqrt()
    a, b = factors.a * root.unsqueeze(1), factors.b / root
    missing = rank - factors.rank
    return (
        torch.nn.functional.pad(a, (0, 0, 0, missing)).contiguous(),
        torch.nn.functional.pad(b, (0, missing)).contiguous(),
    )


def _lora_config(source: Source, modules: Sequence[str], rank: int) -> dict[str, Any]:
    """PEFT's adapter_config.json; alpha equals the rank, so that its scaling is one."""
    kinds = {source.spec.module(name).kind for name in modules}
    return {
        "peft_type": "LORA",
        "task_type": source.spec.task_type,
        "base_model_name_or_path": _public_source(source),
        "revision": source.base.revision,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(modules),
        "fan_in_fan_out": kinds == {"conv1d"},
        "use_rslora": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _loader(source: Source) -> str:
    """The class of transformers that loads this kind of base."""
    return str(FAMILIES[source.spec.family].loader.__name__)


def _public_source(source: Source) -> str:
    """The base's id; where it is a folder its name: where that folder is, is nobody else's business."""
    return source.spec.name if Path(source.base.source).is_dir() else source.base.source


def _add(layer: Any, factors: Factors, kind: str) -> None:
    """Add an update to a layer's weight and bias in place, summed in float64; Conv1D keeps the transpose."""
    weight = layer.weight.data
    update = dense(factors, weight if kind == "linear" else weight.T)
    if layer.bias is not None and factors.scales is not None:
        bias = layer.bias.data
        layer.bias.data = (bias.double() + bias_change(factors.scales, bias)).to(bias.dtype)
    layer.weight.data = (weight.double() + (update if kind == "linear" else update.T)).to(weight.dtype)


def _add_rows(layer: Any, update: DenseUpdate, kind: str) -> None:
    """Add an update to a layer's weight in place, block by block, each summed in float64."""
    weight = layer.weight.data if kind == "linear" else layer.weight.data.T
    for rows, block in update.blocks():
        weight[rows] = (weight[rows].double() + block.to(weight.device)).to(weight.dtype)


def _stored_dtype(folder: Path) -> torch.dtype:
    """The dtype that the base's weights have on disk."""
    named = AutoConfig.from_pretrained(folder, **NO_REMOTE_CODE).dtype
    if isinstance(named, torch.dtype):
        return named
    with safe_open(min(folder.glob("*.safetensors")), framework="pt") as file:
        return file.get_tensor(next(iter(file.keys()))).dtype


def _describe(
    directory: Path, kind: str, source: Source, manifest: IndexManifest, more: Mapping[str, Any]
) -> None:
    members = [{"adapter": entry.adapter, "release": entry.release} for entry in manifest.experts]
    base = {"name": source.spec.name, "revision": source.spec.revision, "digest": manifest.base}
    write_description(directory, {"kind": kind, "base": base, "experts": members, **more})
