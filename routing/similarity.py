"""How alike experts are: exact cosines between their whole updates, however each of them is written.

The inner product of two updates b a and d c of one module is the sum over all entries of (b^T d) * (a c^T):
rank by rank, never d_out x d_in. For many experts at once their factors lie under each other, two matrix
products give all pairs of rows, and sums over the rows of each pair of experts give the inner products.
Ranks, scales and sets of modules may differ; a module that only one of two experts changes counts in that
one's length. Kinds that work through the base's weight are compared by traces with it, as exact.

Clustering raw A and B, as model-based clustering (arXiv 2405.11157, section 4.1) was first written, needs
adapters that began at the same random A. Updates need nothing of the kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Float32, Float64, Int
from safetensors.torch import load, save
from torch import Tensor

from routing.base_traces import BaseTraces, base_traces
from routing.digests import canonical_json
from routing.errors import RoutingError
from routing.factors import Factors, cosine, fingerprint, norm
from routing.scales import Scales
from routing.weights import Layers

Expert = Mapping[str, Factors]
Read = Callable[[str], Expert]
Progress = Callable[[int, int], None]

COPY = 0.99
BLOCK = 64
# Numbers of one product of rows that exist at once: 128 MB in float64.
LARGEST_PRODUCT = 2**24


@dataclass(frozen=True)
class Similarity:
    """The cosines between some experts' updates; row and column i belong to names[i], which are sorted."""

    names: tuple[str, ...]
    cosines: Float64[Tensor, "experts experts"]

    @cached_property
    def places(self) -> Mapping[str, int]:
        """From a name to its row."""
        return {name: place for place, name in enumerate(self.names)}


@dataclass(frozen=True)
class Neighbour:
    """Another expert, and the cosine between its update and the one that was asked about."""

    name: str
    cosine: float


@dataclass(frozen=True)
class _Rows:
    """One module of a block of experts: their factors under each other, whose each row is, and all scales."""

    a: Float64[Tensor, "rows d_in"]
    b: Float64[Tensor, "rows d_out"]
    owners: Int[Tensor, " rows"]
    scales: list[Scales | None]

    @property
    def plain(self) -> bool:
        """Whether nobody here works through the base's weight."""
        return all(scales is None for scales in self.scales)

    def traces(self, name: str, layers: Layers | None) -> BaseTraces:
        """What they share with the base's weight; RoutingError if that is not at hand."""
        if layers is None:
            raise RoutingError(f"{name}: updates with scales are compared beside the base; give layers")
        return base_traces(self.a, self.b, self.owners, self.scales, layers(name).weight)


@dataclass(frozen=True)
class _Block:
    places: tuple[int, ...]
    norms: Float64[Tensor, " experts"]
    modules: Mapping[str, _Rows]


NONE = Similarity((), torch.zeros(0, 0, dtype=torch.float64))


def quiet(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


def similarity(
    experts: Mapping[str, Expert], *, layers: Layers | None = None, device: str | torch.device = "cpu"
) -> Similarity:
    """All cosines between experts in memory; `layers` are the base's, needed if one is DoRA or (IA)^3."""
    return extended(NONE, list(experts), experts.__getitem__, layers=layers, device=device)


def extended(
    known: Similarity,
    names: Sequence[str],
    read: Read,
    *,
    layers: Layers | None = None,
    block: int = BLOCK,
    device: str | torch.device = "cpu",
    progress: Progress = quiet,
) -> Similarity:
    """The cosines between the experts of these names; pairs that are `known` are taken over, not computed.

    At most two blocks of experts are in memory. One new expert beside N known ones costs N pairs; all of N
    cost N^2 / 2 pairs, for which each expert is read N / (2 block) times. RoutingError if one of them works
    through the base's weight and `layers` are not given.
    """
    ordered = tuple(sorted(names))
    cosines = torch.eye(len(ordered), dtype=torch.float64)
    old = [place for place, name in enumerate(ordered) if name in known.places]
    rows = torch.tensor([known.places[ordered[place]] for place in old], dtype=torch.int64)
    cosines[torch.tensor(old, dtype=torch.int64).unsqueeze(1), old] = known.cosines[rows.unsqueeze(1), rows]
    remembered = set(old)
    fresh = [place for place in range(len(ordered)) if place not in remembered]
    total = len(fresh) * len(old) + len(fresh) * (len(fresh) + 1) // 2
    done = 0
    for left, right in _pairs_of_blocks(ordered, read, fresh, old, block, torch.device(device)):
        found = _cosines(left, right, layers).cpu()
        cosines[torch.tensor(left.places).unsqueeze(1), list(right.places)] = found
        cosines[torch.tensor(right.places).unsqueeze(1), list(left.places)] = found.T
        same = left.places == right.places
        done += len(left.places) * (len(left.places) + 1) // 2 if same else found.numel()
        progress(done, total)
    above = cosines.triu(1)  # rounding differs from one side to the other
    return Similarity(ordered, above + above.T + torch.eye(len(ordered), dtype=torch.float64))


def _pairs_of_blocks(
    names: Sequence[str],
    read: Read,
    fresh: Sequence[int],
    old: Sequence[int],
    block: int,
    device: torch.device,
) -> Iterator[tuple[_Block, _Block]]:
    """Every fresh block with itself, with the fresh ones behind it and with all old ones."""

    def blocked(places: Sequence[int]) -> list[Sequence[int]]:
        return [places[start : start + block] for start in range(0, len(places), block)]

    new = blocked(fresh)
    for number, some in enumerate(new):
        left = _block(some, [read(names[place]) for place in some], device)
        yield left, left
        for others in [*new[number + 1 :], *blocked(old)]:
            yield left, _block(others, [read(names[place]) for place in others], device)


def _block(places: Sequence[int], experts: Sequence[Expert], device: torch.device) -> _Block:
    norms = torch.tensor([norm(expert) for expert in experts], dtype=torch.float64, device=device)
    modules = dict.fromkeys(name for expert in experts for name in expert)
    return _Block(tuple(places), norms, {name: _rows(name, experts, device) for name in modules})


def _rows(name: str, experts: Sequence[Expert], device: torch.device) -> _Rows:
    present = [(place, expert[name]) for place, expert in enumerate(experts) if name in expert]
    ranks = torch.tensor([factors.rank for _, factors in present])
    owners = torch.tensor([place for place, _ in present]).repeat_interleave(ranks)
    a = torch.cat([factors.a for _, factors in present]).to(device, torch.float64)
    b = torch.cat([factors.b.T for _, factors in present]).to(device, torch.float64)
    scales = [expert[name].scales if name in expert else None for expert in experts]
    return _Rows(a, b, owners.to(device), scales)


def _cosines(left: _Block, right: _Block, layers: Layers | None) -> Float64[Tensor, "left right"]:
    """Inner products over the modules that both have, by the experts' whole lengths; 0 if one has none."""
    total = torch.zeros(len(left.places), len(right.places), dtype=torch.float64, device=left.norms.device)
    for name in left.modules.keys() & right.modules.keys():
        one, other = left.modules[name], right.modules[name]
        _add_products(total, one, other)
        if not (one.plain and other.plain):
            total += one.traces(name, layers).products(other.traces(name, layers))
    sizes = left.norms.unsqueeze(1) * right.norms
    return torch.where(sizes > 0, total / sizes, torch.zeros_like(total)).clamp(-1.0, 1.0)


def _add_products(total: Float64[Tensor, "left right"], left: _Rows, right: _Rows) -> None:
    step = max(1, LARGEST_PRODUCT // max(1, len(right.a)))
    for start in range(0, len(left.a), step):
        rows = slice(start, start + step)
        products = (left.a[rows] @ right.a.T).mul_(left.b[rows] @ right.b.T)
        by_left = torch.zeros(len(total), len(right.a), dtype=total.dtype, device=total.device)
        by_left.index_add_(0, left.owners[rows], products)
        total.index_add_(1, right.owners, by_left)


def neighbours(found: Similarity, count: int) -> dict[str, list[Neighbour]]:
    """For each expert the others that are most like it, the most alike first."""
    others = found.cosines.clone().fill_diagonal_(-torch.inf)
    best, places = others.sort(dim=1, descending=True, stable=True)
    wanted = min(count, len(found.names) - 1)
    return {
        name: [
            Neighbour(found.names[place], value)
            for place, value in zip(places[row, :wanted].tolist(), best[row, :wanted].tolist(), strict=True)
        ]
        for row, name in enumerate(found.names)
    }


def nearest(
    expert: Expert,
    sketches: Mapping[str, Float32[Tensor, "1024"]],
    read: Read,
    *,
    count: int,
    shortlist: int,
    layers: Layers | None = None,
) -> list[Neighbour]:
    """The experts most like this one, without reading all of them: fingerprints choose, exact cosines rank.

    What is returned is exact. What may be missed is an expert whose fingerprint is not among the `shortlist`
    best: estimates are off by about 1/32 for updates of many directions and by more for those of few, so the
    list should be several times longer than `count`.
    """
    names = sorted(sketches)
    if not names:
        return []
    estimates = torch.stack([sketches[name] for name in names]) @ fingerprint(expert)
    chosen = estimates.argsort(descending=True, stable=True)[: max(shortlist, count)].tolist()
    found = [Neighbour(names[place], cosine(expert, read(names[place]), layers)) for place in chosen]
    return sorted(found, key=lambda one: (-one.cosine, one.name))[:count]


def duplicates(found: Similarity, threshold: float = COPY) -> list[tuple[str, ...]]:
    """Groups of experts that are the same again: linked by cosines of at least the threshold, sorted."""
    alike = found.cosines >= threshold
    groups, seen = [], set[int]()
    for start in range(len(found.names)):
        if start in seen:
            continue
        group, waiting = {start}, [start]
        while waiting:
            linked = set(alike[waiting.pop()].nonzero().flatten().tolist()) - group
            group |= linked
            waiting += linked
        seen |= group
        if len(group) > 1:
            groups.append(tuple(found.names[place] for place in sorted(group)))
    return groups


def mean_cosine(found: Similarity, names: Sequence[str]) -> float:
    """The mean cosine between different experts of a group; 1 for a group of one."""
    places = [found.places[name] for name in names]
    if len(places) < 2:  # noqa: PLR2004 - a pair
        return 1.0
    part: Float[Tensor, "some some"] = found.cosines[torch.tensor(places).unsqueeze(1), places]
    return float((part.sum() - part.diagonal().sum()) / (len(places) * (len(places) - 1)))


def similarity_bytes(found: Similarity) -> bytes:
    """The cosines in float32 and the names, as one safetensors file that `read_similarity` reads."""
    names = torch.frombuffer(bytearray(canonical_json(list(found.names))), dtype=torch.uint8)
    return save({"cosines": found.cosines.float().contiguous(), "names": names})


def read_similarity(content: bytes) -> Similarity:
    """Read what `similarity_bytes` wrote."""
    tensors = load(content)
    names = json.loads(bytes(tensors["names"].tolist()))
    return Similarity(tuple(names), tensors["cosines"].double())
