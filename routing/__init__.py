"""Routing among independently trained adapters of one base model.

The names to read a notebook by (docs/routing/notebook.md). They are looked up when they are first used, so
that what needs no torch (the static checks of uploads) does not import it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Base": "base",
    "BaseEncoder": "encoding",
    "BaseRef": "spec",
    "BaseSpec": "spec",
    "ComposedModel": "composed",
    "DenseUpdate": "dense",
    "Factors": "factors",
    "GateRecipe": "gates",
    "LoraRecipe": "lora_training",
    "MERGES": "merge",
    "MergePlan": "merge",
    "Profile": "profiles",
    "ROUTERS": "routers",
    "Routing": "routes",
    "RoutingPolicy": "index",
    "Sample": "checks.samples",
    "Sampling": "sampling",
    "Similarity": "similarity",
    "Source": "checkpoint",
    "arrow_prototype": "prototypes",
    "at_rank": "merge",
    "cluster": "clustering",
    "compete": "competition",
    "compose": "composed",
    "cosine": "factors",
    "duplicates": "similarity",
    "encoded_rows": "rows",
    "expert_factors": "factors",
    "inspect_base": "base",
    "library_source": "notebook",
    "load_base": "base",
    "load_checkpoint": "checkpoint",
    "load_encoder": "encoding",
    "mean_expert": "merge",
    "mean_update": "merge",
    "merge_experts": "merge",
    "neighbours": "similarity",
    "neutral_shares": "shares",
    "neutral_tokens": "neutral",
    "open_library": "notebook",
    "open_store": "store",
    "parse_samples": "checks.samples",
    "placed": "expert_map",
    "profile_of": "retrieval",
    "publish": "notebook",
    "read_adapter": "adapter",
    "read_experts": "notebook",
    "retruncate": "merge",
    "train_gates": "gates",
    "train_lora": "lora_training",
    "write_adapter": "export",
    "write_merged": "export",
    "write_peft_folder": "peft_folder",
    "write_routed": "checkpoint",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605 - a list, made


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"routing has no {name}; it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(f"routing.{_HOMES[name]}"), name)
