"""Rotary positions that depend on the longest text of a pass, kept apart from other passes.

transformers keeps the frequencies of `dynamic` and `longrope` embeddings in the module and writes them anew
inside a pass. Two passes on two threads (an answer's and a prior's) then get each other's, and a long text
leaves its frequencies of `dynamic` behind for the next one that is shorter, which would read other positions
than it does alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from torch import nn

BY_LONGEST = frozenset({"dynamic", "longrope"})


def keep_passes_apart(model: nn.Module) -> None:
    """Let such embeddings work out one pass at a time, each as if it were the first."""
    for module in model.modules():
        if set(_kinds(module).values()) & BY_LONGEST:
            _keep_apart(module)


def _keep_apart(module: Any) -> None:
    lock, forward = threading.Lock(), module.forward

    def alone(*given: Any, **named: Any) -> Any:
        with lock:
            for prefix in _dynamic(module):
                setattr(module, f"{prefix}inv_freq", getattr(module, f"{prefix}original_inv_freq"))
                setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)
            return forward(*given, **named)

    module.forward = alone


def _kinds(module: nn.Module) -> dict[str, str]:
    """The kinds of a rotary embedding, by what its names of each begin with; none of any other module."""
    kinds = getattr(module, "rope_type", None)
    if isinstance(kinds, dict):  # of several types of layers
        return {f"{layer}_": kind for layer, kind in kinds.items()}
    return {"": kinds} if isinstance(kinds, str) else {}


def _dynamic(module: nn.Module) -> Iterator[str]:
    yield from (prefix for prefix, kind in _kinds(module).items() if kind == "dynamic")
