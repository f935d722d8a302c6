"""The canonical form of an expert: per module U S V^T at its numerical rank, however it was uploaded.

Rank, alpha, rank-stabilised scaling, patterns, padding and re-factoring (A -> MA, B -> B M^-1) disappear.
Everything is r-by-r work on thin QRs; the d_out x d_in product B A is never formed. The work is done in
float64: it costs a fifth more than float32 and leaves only the rounding of the stored result.

An update that also works through the base's weight (see `routing.scales`) has full rank. What it is
recognised by is worked out once, where that weight is at hand, and kept beside it as its outline.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from routing.adapter import Adapter, LowRank, ModuleUpdate
from routing.base_traces import BaseTraces, base_traces
from routing.errors import RoutingError
from routing.lanczos import leading_directions
from routing.scales import Scales, dense_scales, exact_form
from routing.weights import Layer, Layers

# Singular values below this share of the largest are rounding: uploads are float32 at best.
NUMERICAL_RANK = 1e-6
SKETCH_SIDE = 32
# Numbers of A and B that are worked on at once: some 64 MB in float64, whatever the adapter is.
LARGEST_BATCH = 2**23
# How many singular directions of an update of full rank are kept.
OUTLINE_RANK = 16


@dataclass(frozen=True)
class Factors:
    """One module's update: b @ a, and what `scales` do through the base's weight.

    `a` = V^T has unit rows, `b` = U S carries the scaling, `sigma` falls. An update with scales has an
    `outline`, unless it was added up from others without the base at hand.
    """

    a: Float[Tensor, "rank d_in"]
    b: Float[Tensor, "d_out rank"]
    sigma: Float[Tensor, "rank"]
    scales: Scales | None = None
    outline: Outline | None = None

    @property
    def rank(self) -> int:
        """The numerical rank of the low-rank part."""
        return self.sigma.shape[0]

    @property
    def known(self) -> Outline:
        """What is known of an update with scales; RoutingError if it was never worked out."""
        if self.outline is None:
            raise RoutingError("this update works through the base's weight and was not looked at beside it")
        return self.outline

    @property
    def leading(self) -> Factors:
        """The update itself if it is of low rank; else the nearest one of rank `OUTLINE_RANK`."""
        return self if self.scales is None else self.known.nearest

    @property
    def norm(self) -> float:
        """The Frobenius norm of the whole update."""
        return (
            float(torch.linalg.vector_norm(self.sigma.double())) if self.scales is None else self.known.norm
        )


@dataclass(frozen=True)
class Outline:
    """What an update of full rank is recognised by: its nearest update of low rank, its Frobenius norm, and
    P^T dW Q, its share of the expert's fingerprint.
    """

    nearest: Factors
    norm: float
    sketch: Float[Tensor, "side side"]

    @property
    def energy(self) -> float:
        """The share of the squared norm that `nearest` holds, 0 to 1."""
        return (self.nearest.norm / self.norm) ** 2 if self.norm else 1.0


def canonical(low_rank: LowRank) -> Factors:
    """The canonical factors of one update: exact to float32, sign fixed; rank 0 if the update is zero."""
    return _canonical_batch([low_rank])[0]


def expert_factors(adapter: Adapter, layers: Layers | None = None) -> dict[str, Factors]:
    """The canonical factors of every module that the adapter changes, in the base's order; batched by shape.

    A module whose update is zero is left out: the expert does not act there. `layers` are the base's own, for
    DoRA and (IA)^3, which work through them; RoutingError if they are needed and not given.
    """
    found = _all_canonical(adapter.low_rank)
    for name, update in adapter.modules.items():
        if name not in found:
            if layers is None:
                raise RoutingError(
                    f"{name}: {type(update).__name__} works through the base's weight; load it"
                )
            found[name] = scaled_factors(name, update, layers(name))
    return {name: found[name] for name in adapter.modules if found[name].rank or found[name].scales}


def scaled_factors(name: str, update: ModuleUpdate, layer: Layer) -> Factors:
    """The exact form of an update that works through the base's weight, with its outline."""
    low_rank, scales = exact_form(update, layer)
    factors = canonical(low_rank)
    if scales is None:
        return factors
    return outlined(name, replace(factors, scales=scales), layer)


def outlined(name: str, factors: Factors, layer: Layer, *, rank: int = OUTLINE_RANK) -> Factors:
    """The update with its outline, for which its matrix is formed once; without scales if it is zero."""
    whole = dense(factors, layer.weight)
    size = float(torch.linalg.matrix_norm(whole))
    if not size:
        return replace(factors, scales=None)
    found = leading_directions(whole, rank)
    nearest = _truncated(found.right.cpu(), found.left.cpu(), found.sigma.cpu())
    sketch = _signs(f"{name}/out", len(whole)).T @ whole.cpu() @ _signs(f"{name}/in", whole.shape[1])
    return replace(factors, outline=Outline(nearest, size, sketch.float()))


def dense(factors: Factors, weight: Float[Tensor, "d_out d_in"]) -> Float64[Tensor, "d_out d_in"]:
    """The whole matrix of an update, on the device of the base's weight."""
    b, a = (half.to(weight.device).double() for half in (factors.b, factors.a))
    product = b @ a
    return product if factors.scales is None else product + dense_scales(factors.scales, weight.double())


def _all_canonical(updates: Mapping[str, LowRank]) -> dict[str, Factors]:
    """Canonical factors by name, batched by shape."""
    groups: dict[tuple[torch.Size, torch.Size], list[str]] = defaultdict(list)
    for name, low_rank in updates.items():
        groups[low_rank.a.shape, low_rank.b.shape].append(name)
    found: dict[str, Factors] = {}
    for (a_shape, b_shape), names in groups.items():
        count = max(1, LARGEST_BATCH // (a_shape.numel() + b_shape.numel()))
        for batch in (names[start : start + count] for start in range(0, len(names), count)):
            found |= zip(batch, _canonical_batch([updates[name] for name in batch]), strict=True)
    return found


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
    right: Float64[Tensor, "k d_in"], left: Float64[Tensor, "d_out k"], sigma: Float64[Tensor, " k"]
) -> Factors:
    """The part above rounding, with the largest entry of each row of `a` made positive."""
    rank = int((sigma > NUMERICAL_RANK * sigma[0]).sum()) if len(sigma) else 0
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


def inner(f: Factors, g: Factors, weight: Float[Tensor, "d_out d_in"] | None = None) -> float:
    """The inner product of two updates of one module: tr((b_f^T b_g)(a_g a_f^T)), and what scales add to it.

    What scales add are traces with the base's weight (`routing.base_traces`): RoutingError if an update has
    scales and `weight` is not given.
    """
    total = float(((f.b.double().T @ g.b.double()) * (f.a.double() @ g.a.double().T)).sum())
    if f.scales is None and g.scales is None:
        return total
    if weight is None:
        raise RoutingError("the inner product of updates with scales needs the base's weight")
    return total + float(_traces(f, weight).products(_traces(g, weight)))


def _traces(factors: Factors, weight: Float[Tensor, "d_out d_in"]) -> BaseTraces:
    owners = torch.zeros(factors.rank, dtype=torch.int64)
    return base_traces(factors.a.double(), factors.b.T.double(), owners, [factors.scales], weight)


def norm(factors: Mapping[str, Factors]) -> float:
    """The Frobenius norm of a whole expert: the root of the sum of all squared singular values."""
    return math.hypot(*(module.norm for module in factors.values()))


def cosine(f: Mapping[str, Factors], g: Mapping[str, Factors], layers: Layers | None = None) -> float:
    """The cosine of two experts' updates over all modules, -1 to 1; 0 if one of them is zero.

    Where one of the two has scales the base's `layers` are needed: RoutingError without them.
    """
    size = norm(f) * norm(g)
    together = sum(_inner_at(name, f[name], g[name], layers) for name in f.keys() & g.keys())
    return max(-1.0, min(1.0, together / size)) if size else 0.0


def _inner_at(name: str, f: Factors, g: Factors, layers: Layers | None) -> float:
    plain = f.scales is None and g.scales is None
    return inner(f, g, None if plain or layers is None else layers(name).weight)


def fingerprint(factors: Mapping[str, Factors]) -> Float32[Tensor, "1024"]:
    """A short unit vector whose inner products estimate `cosine`: equal updates have equal fingerprints.

    The sum over modules of P^T (b a) Q, with P and Q of random signs fixed by the module's name: products of
    different modules cancel on average, those of one module stay.
    """
    total = torch.zeros(SKETCH_SIDE, SKETCH_SIDE, dtype=torch.float64)
    for name in sorted(factors):
        module = factors[name]
        if module.scales is not None:
            total += module.known.sketch.double()
            continue
        left = _signs(f"{name}/out", module.b.shape[0]).T @ module.b.double()
        right = module.a.double() @ _signs(f"{name}/in", module.a.shape[1])
        total += left @ right
    return torch.nn.functional.normalize(total.flatten(), dim=0).float()


def _signs(seed: str, rows: int) -> Float64[Tensor, "rows side"]:
    """Random signs as the bits of SHAKE-256 of `seed`: the same on every machine, for ever."""
    content = hashlib.shake_256(seed.encode()).digest(rows * SKETCH_SIDE // 8)
    bits = np.unpackbits(np.frombuffer(content, dtype=np.uint8)).reshape(rows, SKETCH_SIDE)
    return torch.from_numpy(bits.astype(np.float64) * 2 - 1)
