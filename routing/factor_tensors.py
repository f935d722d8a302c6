"""Factors as named tensors, the way they lie in the index store.

An update of low rank is `<module>.a` and `.b`. One with scales has no such tensors: a program that knows
nothing of scales finds a module of its vectors without factors, and refuses the expert instead of serving
a part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from routing.errors import BadManifest
from routing.factors import Factors, Outline
from routing.scales import Scales

Tensors = Mapping[str, Tensor]


def factor_tensors(factors: Mapping[str, Factors]) -> dict[str, Tensor]:
    """Every tensor of an expert by name."""
    return {f"{name}.{part}": tensor for name, module in factors.items() for part, tensor in _parts(module)}


def factors_of(tensors: Tensors) -> dict[str, Factors]:
    """The factors by module that `factor_tensors` named; BadManifest if a part of one is missing."""
    plain = {name: _low_rank(tensors[f"{name}.a"], tensors[f"{name}.b"]) for name in _stems(tensors, ".a")}
    try:
        return plain | {name: _scaled(name, tensors) for name in _stems(tensors, ".nearest_a")}
    except KeyError as error:
        raise BadManifest(f"factors: there is no tensor {error}") from error


def _parts(module: Factors) -> Iterator[tuple[str, Tensor]]:
    if module.scales is None:
        yield from (("a", module.a), ("b", module.b))
        return
    outline = module.known
    if module.rank:
        yield from (("low_a", module.a), ("low_b", module.b))
    for part in ("output", "shift", "input"):
        scale = getattr(module.scales, part)
        if scale is not None:
            yield f"scale_{part}", scale
    yield from (("nearest_a", outline.nearest.a), ("nearest_b", outline.nearest.b))
    yield from (("norm", torch.tensor([outline.norm])), ("sketch", outline.sketch))


def _scaled(name: str, tensors: Tensors) -> Factors:
    nearest = _low_rank(tensors[f"{name}.nearest_a"], tensors[f"{name}.nearest_b"])
    nothing = (nearest.a[:0], nearest.b[:, :0])
    low = _low_rank(tensors.get(f"{name}.low_a", nothing[0]), tensors.get(f"{name}.low_b", nothing[1]))
    scales = Scales(*(tensors.get(f"{name}.scale_{part}") for part in ("output", "shift", "input")))
    outline = Outline(nearest, float(tensors[f"{name}.norm"]), tensors[f"{name}.sketch"])
    return Factors(low.a, low.b, low.sigma, scales, outline)


def _low_rank(a: Tensor, b: Tensor) -> Factors:
    """The columns of `b` are U S, so their lengths are the singular values."""
    return Factors(a, b, torch.linalg.vector_norm(b.double(), dim=0).float())


def _stems(tensors: Tensors, ending: str) -> list[str]:
    return [name.removesuffix(ending) for name in tensors if name.endswith(ending)]
