"""Routing among independently trained adapters of one base model.

The names to read a notebook by. They are looked up when they are first used, so that what needs no torch (the
static checks of uploads) does not import it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "BaseEncoder": "encoding",
    "BaseRef": "spec",
    "BaseSpec": "spec",
    "ComposedModel": "composed",
    "Factors": "factors",
    "Profile": "profiles",
    "Routing": "routes",
    "RoutingPolicy": "index",
    "Sampling": "sampling",
    "arrow_prototype": "prototypes",
    "compose": "composed",
    "expert_factors": "factors",
    "inspect_base": "base",
    "load_base": "base",
    "load_checkpoint": "checkpoint",
    "mean_expert": "merge",
    "mean_update": "merge",
    "open_store": "store",
    "profile_of": "retrieval",
    "read_adapter": "adapter",
    "retruncate": "merge",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605 - a list, made


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"routing has no {name}; it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(f"routing.{_HOMES[name]}"), name)
