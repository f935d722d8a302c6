"""Numbers about an expert for people to look at, as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routing.adapter import Adapter, Dora, InputScale, LowRank, ModuleUpdate, OutputScale
from routing.factors import Factors, norm, reconstruction_error

# Above this ratio of the second to the first singular value the prototype's direction is nearly chance.
AMBIGUOUS_RATIO = 0.98
KINDS: Mapping[type, str] = {LowRank: "LoRA", Dora: "DoRA", OutputScale: "(IA)^3", InputScale: "(IA)^3"}


def statistics(adapter: Adapter, factors: Mapping[str, Factors]) -> dict[str, Any]:
    """Numbers about an expert as plain JSON: a summary, norm, and per module spectrum, ranks and error."""
    modules = {
        name: _module_statistics(adapter.modules[name], module_factors)
        for name, module_factors in factors.items()
    }
    return {
        "summary": _summary(adapter, factors),
        "norm": norm(factors),
        "parameters": adapter.parameters,
        "largest_error": max((module.get("error", 0.0) for module in modules.values()), default=0.0),
        "least_kept": min((module["kept"] for module in modules.values()), default=1.0),
        "ambiguous_modules": sum(module["ambiguous"] for module in modules.values()),
        "untouched_modules": [name for name in adapter.modules if name not in factors],
        "modules": modules,
    }


def _summary(adapter: Adapter, factors: Mapping[str, Factors]) -> dict[str, Any]:
    """What a list of experts shows of one: its kind, ranks, how many modules, and which kinds of them."""
    ranks = [module.rank for module in factors.values()]
    return {
        "expert_kind": " and ".join(sorted({KINDS[type(update)] for update in adapter.modules.values()})),
        "rank_smallest": min(ranks, default=0),
        "rank_largest": max(ranks, default=0),
        "modules": len(ranks),
        "kinds": sorted({name.rpartition(".")[2] for name in factors}),
    }


def _module_statistics(update: ModuleUpdate, factors: Factors) -> dict[str, Any]:
    """`kept` is the share of the squared norm that the kept singular values hold: one, but for full rank.

    `error` is said of plain low-rank updates, which are stored in another form than they came in.
    """
    sigma = factors.leading.sigma.tolist()
    ratio = sigma[1] / sigma[0] if len(sigma) > 1 else 0.0
    found = {
        "kind": KINDS[type(update)],
        "rank": factors.rank,
        "norm": factors.norm,
        "kept": 1.0 if factors.scales is None else factors.known.energy,
        "sigma": sigma,
        "ratio": ratio,
        "ambiguous": ratio > AMBIGUOUS_RATIO,
    }
    if not isinstance(update, LowRank):
        return found
    return {
        **found,
        "uploaded_rank": update.rank,
        "scaling": update.scaling,
        "error": reconstruction_error(update, factors),
    }
