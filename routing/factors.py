"""The canonical form of an expert: per module U S V^T at its numerical rank, however it was uploaded.

Rank, alpha, rank-stabilised scaling, patterns, padding and re-factoring (A -> MA, B -> B M^-1) disappear.
Everything is r-by-r work on thin QRs; the d_out x d_in product B A is never formed. The work is done in
float64: it costs a fifth more than float32 and leaves only the rounding of the stored result.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from routing.adapter import Adapter, LowRank

# Singular values below this share of the largest are rounding: uploads are float32 at best.
NUMERICAL_RANK = 1e-6
# Above this ratio of the second to the first singular value the prototype's direction is nearly chance.
AMBIGUOUS_RATIO = 0.98
SKETCH_SIDE = 32
# Numbers of A and B that are worked on at once: some 64 MB in float64, whatever the adapter is.
LARGEST_BATCH = 2**23


@dataclass(frozen=True)
class Factors:
    """One module's update as b @ a: `a` = V^T has unit rows, `b` = U S carries the scaling, `sigma` falls."""

    a: Float[Tensor, "rank d_in"]
    b: Float[Tensor, "d_out rank"]
    sigma: Float[Tensor, "rank"]

    @property
    def rank(self) -> int:
        """The numerical rank of the update."""
        return self.sigma.shape[0]


def canonical(low_rank: LowRank) -> Factors:
    """The canonical factors of one update: exact to float32, sign fixed; rank 0 if the update is zero."""
    return _canonical_batch([low_rank])[0]


def expert_factors(adapter: Adapter) -> dict[str, Factors]:
    """The canonical factors of every module that the adapter changes, in the base's order; batched by shape.

    A module whose update is zero is left out: the expert does not act there.
    """
    groups: dict[tuple[torch.Size, torch.Size], list[str]] = defaultdict(list)
    for name, low_rank in adapter.modules.items():
        groups[low_rank.a.shape, low_rank.b.shape].append(name)
    found: dict[str, Factors] = {}
    for (a_shape, b_shape), names in groups.items():
        count = max(1, LARGEST_BATCH // (a_shape.numel() + b_shape.numel()))
        for batch in (names[start : start + count] for start in range(0, len(names), count)):
            found |= zip(batch, _canonical_batch([adapter.modules[name] for name in batch]), strict=True)
    return {name: found[name] for name in adapter.modules if found[name].rank}


def _canonical_batch(updates: Sequence[LowRank]) -> list[Factors]:
    """Canonical factors of updates of equal shapes."""
    a = torch.stack([update.a for update in updates]).double()
    b = torch.stack([update.b for update in updates]).double()
    scaling = torch.tensor([update.scaling for update in updates], dtype=torch.float64)
    q_a, r_a = torch.linalg.qr(a.mT)
    q_b, r_b = torch.linalg.qr(b)
    u, sigma, vh = torch.linalg.svd(scaling[:, None, None] * (r_b @ r_a.mT), full_matrices=False)
    right, left = vh @ q_a.mT, q_b @ u
    return [_truncated(*one) for one in zip(right, left, sigma, strict=True)]


def _truncated(
    right: Float64[Tensor, "k d_in"], left: Float64[Tensor, "d_out k"], sigma: Float64[Tensor, "k"]
) -> Factors:
    """The part above rounding, with the largest entry of each row of `a` made positive."""
    rank = int((sigma > NUMERICAL_RANK * sigma[0]).sum())
    right, left, sigma = right[:rank], left[:, :rank], sigma[:rank]
    sign = torch.sign(right.gather(1, right.abs().argmax(1, keepdim=True)))
    a = (right * sign).float().contiguous()
    b = (left * (sigma * sign[:, 0])).float().contiguous()
    return Factors(a, b, sigma.float().contiguous())


def reconstruction_error(low_rank: LowRank, factors: Factors) -> float:
    """The distance of the canonical from the uploaded update, relative to the latter's Frobenius norm.

    The difference is [scaling B, -b] [A; a], so its norm is that of a product of two small triangles.
    """
    left = torch.cat([low_rank.scaling * low_rank.b.double(), -factors.b.double()], dim=1)
    right = torch.cat([low_rank.a.double(), factors.a.double()]).mT
    distance = _product_norm(left, right)
    size = _product_norm(low_rank.scaling * low_rank.b.double(), low_rank.a.double().mT)
    return distance / size if size else distance


def _product_norm(left: Float64[Tensor, "m k"], right: Float64[Tensor, "n k"]) -> float:
    """The Frobenius norm of left @ right.T from the triangles of both QRs."""
    triangles = [torch.linalg.qr(matrix, mode="r").R for matrix in (left, right)]
    return float(torch.linalg.matrix_norm(triangles[0] @ triangles[1].mT))


def inner(f: Factors, g: Factors) -> float:
    """The inner product of two updates of one module: tr((b_f^T b_g)(a_g a_f^T))."""
    return float(((f.b.double().T @ g.b.double()) * (f.a.double() @ g.a.double().T)).sum())


def norm(factors: Mapping[str, Factors]) -> float:
    """The Frobenius norm of a whole expert: the root of the sum of all squared singular values."""
    return math.sqrt(sum(float(module.sigma.double().square().sum()) for module in factors.values()))


def cosine(f: Mapping[str, Factors], g: Mapping[str, Factors]) -> float:
    """The cosine of two experts' updates over all modules, -1 to 1; 0 if one of them is zero."""
    size = norm(f) * norm(g)
    together = sum(inner(f[name], g[name]) for name in f.keys() & g.keys())
    return max(-1.0, min(1.0, together / size)) if size else 0.0


def statistics(adapter: Adapter, factors: Mapping[str, Factors]) -> dict[str, Any]:
    """Numbers about an expert as plain JSON: a summary, norm, and per module spectrum, ranks and error."""
    modules = {
        name: _module_statistics(adapter.modules[name], module_factors)
        for name, module_factors in factors.items()
    }
    return {
        "summary": _summary(factors),
        "norm": norm(factors),
        "parameters": sum(update.a.numel() + update.b.numel() for update in adapter.modules.values()),
        "largest_error": max((module["error"] for module in modules.values()), default=0.0),
        "ambiguous_modules": sum(module["ambiguous"] for module in modules.values()),
        "untouched_modules": [name for name in adapter.modules if name not in factors],
        "modules": modules,
    }


def _summary(factors: Mapping[str, Factors]) -> dict[str, Any]:
    """What a list of experts shows of one: ranks, how many modules, and which kinds of them."""
    ranks = [module.rank for module in factors.values()]
    return {
        "rank_smallest": min(ranks, default=0),
        "rank_largest": max(ranks, default=0),
        "modules": len(ranks),
        "kinds": sorted({name.rpartition(".")[2] for name in factors}),
    }


def _module_statistics(low_rank: LowRank, factors: Factors) -> dict[str, Any]:
    sigma = factors.sigma.tolist()
    ratio = sigma[1] / sigma[0] if len(sigma) > 1 else 0.0
    return {
        "rank": factors.rank,
        "uploaded_rank": low_rank.rank,
        "scaling": low_rank.scaling,
        "norm": math.sqrt(sum(value * value for value in sigma)),
        "sigma": sigma,
        "ratio": ratio,
        "ambiguous": ratio > AMBIGUOUS_RATIO,
        "error": reconstruction_error(low_rank, factors),
    }


def fingerprint(factors: Mapping[str, Factors]) -> Float32[Tensor, "1024"]:
    """A short unit vector whose inner products estimate `cosine`: equal updates have equal fingerprints.

    The sum over modules of P^T (b a) Q, with P and Q of random signs fixed by the module's name: products of
    different modules cancel on average, those of one module stay.
    """
    total = torch.zeros(SKETCH_SIDE, SKETCH_SIDE, dtype=torch.float64)
    for name in sorted(factors):
        module = factors[name]
        left = _signs(f"{name}/out", module.b.shape[0]).T @ module.b.double()
        right = module.a.double() @ _signs(f"{name}/in", module.a.shape[1])
        total += left @ right
    return torch.nn.functional.normalize(total.flatten(), dim=0).float()


def _signs(seed: str, rows: int) -> Float64[Tensor, "rows side"]:
    """Random signs as the bits of SHAKE-256 of `seed`: the same on every machine, for ever."""
    content = hashlib.shake_256(seed.encode()).digest(rows * SKETCH_SIDE // 8)
    bits = np.unpackbits(np.frombuffer(content, dtype=np.uint8)).reshape(rows, SKETCH_SIDE)
    return torch.from_numpy(bits.astype(np.float64) * 2 - 1)
