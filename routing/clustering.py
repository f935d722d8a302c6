"""Model-based clustering: groups of experts whose updates point the same way (arXiv 2405.11157, section
4.1).

The paper runs k-means on the rows of a similarity matrix of raw, sparsified factors. Here the matrix holds
exact cosines of updates, and groups are joined by average linkage: it has no random start, one tree holds
the groups for every number of them, and the order of experts changes nothing. `rows_by_k_means` is the
paper's way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float64, Int
from numpy.typing import NDArray
from torch import Tensor

from routing.errors import RoutingError
from routing.similarity import Similarity

Labels = Int[Tensor, " experts"]
# For every asked number of groups, whose group each expert is in.
Grouping = Callable[[Float64[Tensor, "experts experts"], Sequence[int]], Iterator[tuple[int, Labels]]]

STARTS, ROUNDS = 10, 100
SHUFFLES = 5
LEAST = 0.05  # below this silhouette a group shares less than a twentieth of its direction
CLEARER = 1.25  # how much better than shuffled cosines the best grouping must be to be believed


@dataclass(frozen=True)
class Clusters:
    """Groups of experts, numbered from 0 in the order of their first members' names.

    `silhouette` says how clear they are (1: perfectly; 0: not at all); `by_count` says the same of each
    number of groups that was tried. One group of all and a silhouette of 0 mean that no grouping was clear.
    """

    groups: tuple[tuple[str, ...], ...]
    silhouette: float
    by_count: Mapping[int, float] = field(default_factory=dict)

    def of(self, name: str) -> int:
        """The number of the group that an expert is in."""
        return next(number for number, group in enumerate(self.groups) if name in group)


class BadCount(RoutingError):
    """There cannot be so many groups; the message says how many there can be."""


def average_linkage(
    cosines: Float64[Tensor, "experts experts"], counts: Sequence[int]
) -> Iterator[tuple[int, Labels]]:
    """Join the two groups with the highest mean cosine again and again; cut the tree at each count."""
    joins = _joined(1.0 - cosines.numpy())
    size = len(cosines)
    for count in counts:
        parents = list(range(size))
        for first, second, _ in joins[: size - count]:
            parents[_root(parents, first)] = _root(parents, second)
        yield count, torch.tensor([_root(parents, place) for place in range(size)])


def rows_by_k_means(
    cosines: Float64[Tensor, "experts experts"], counts: Sequence[int]
) -> Iterator[tuple[int, Labels]]:
    """k-means on the rows of the cosine matrix as in the paper: k-means++, best of ten starts, one seed."""
    for count in counts:
        draw = torch.Generator().manual_seed(count)
        runs = [_k_means(cosines, count, draw) for _ in range(STARTS)]
        yield count, min(runs, key=lambda run: run[1])[0]


def cluster(found: Similarity, *, count: int | None = None, grouping: Grouping = average_linkage) -> Clusters:
    """Groups of experts; without a count, as many as have the best silhouette, or one if none is clear.

    Clear is a silhouette of .05 that is a quarter better than the best grouping of the same cosines
    shuffled among the pairs: that keeps how alike experts are, and destroys who is alike. Raises BadCount
    for a count below 1 or above the experts'.
    """
    size = len(found.names)
    if count is not None:
        if not 1 <= count <= size:
            raise BadCount(f"clusters: found {count}, expected 1 to {size}, the number of experts")
        (_, labels), *_ = grouping(found.cosines, [count])
        quality = silhouette(found.cosines, labels)
        return Clusters(_named(found.names, labels), quality, {count: quality})
    tried = _tried(found.cosines, grouping)
    best = max(tried, key=lambda one: (tried[one][1], -one), default=1)
    by_count = {number: quality for number, (_, quality) in tried.items()}
    if not tried or tried[best][1] <= max(LEAST, CLEARER * _by_chance(found.cosines, grouping)):
        return Clusters((found.names,) if size else (), 0.0, by_count)
    labels, quality = tried[best]
    return Clusters(_named(found.names, labels), quality, by_count)


def silhouette(cosines: Float64[Tensor, "experts experts"], labels: Labels) -> float:
    """The mean over experts of (b - a) / max(a, b): a is the mean distance (1 - cosine) to its own group, b
    the least mean distance to another. Experts alone in their group count 0 (Rousseeuw 1987).
    """
    groups = labels.unique()
    if len(groups) < 2:  # noqa: PLR2004 - two groups are the fewest between which there is a difference
        return 0.0
    member = (labels.unsqueeze(1) == groups).double()
    sizes = member.sum(0)
    sums = (1.0 - cosines) @ member
    own = (sums * member).sum(1) / (member @ sizes - 1.0).clamp(min=1.0)
    other = torch.where(member.bool(), torch.inf, sums / sizes).min(1).values
    scores = (other - own) / torch.maximum(other, own).clamp(min=1e-12)
    return float(torch.where(member @ sizes > 1, scores, torch.zeros_like(scores)).mean())


def counts_to_try(size: int) -> range:
    """From two groups up to all but one, at most twice the root of the number of experts (but twelve)."""
    return range(2, min(size - 1, max(12, math.ceil(2 * math.sqrt(size)))) + 1)


def _tried(cosines: Tensor, grouping: Grouping) -> dict[int, tuple[Labels, float]]:
    return {
        count: (labels, silhouette(cosines, labels))
        for count, labels in grouping(cosines, counts_to_try(len(cosines)))
    }


def _by_chance(cosines: Tensor, grouping: Grouping) -> float:
    """The best silhouette that the same cosines have when they are shuffled among the pairs."""
    draw = torch.Generator().manual_seed(0)
    upper = torch.triu_indices(len(cosines), len(cosines), offset=1)
    values = cosines[upper[0], upper[1]]
    best = 0.0
    for _ in range(SHUFFLES):
        shuffled = torch.eye(len(cosines), dtype=torch.float64)
        shuffled[upper[0], upper[1]] = values[torch.randperm(len(values), generator=draw)]
        mirrored = torch.triu(shuffled) + torch.triu(shuffled, 1).T
        best = max([best, *(quality for _, quality in _tried(mirrored, grouping).values())])
    return best


def _named(names: Sequence[str], labels: Labels) -> tuple[tuple[str, ...], ...]:
    groups: dict[int, list[str]] = {}
    for name, label in zip(names, labels.tolist(), strict=True):
        groups.setdefault(label, []).append(name)
    return tuple(tuple(group) for group in groups.values())


def _root(parents: list[int], place: int) -> int:
    while parents[place] != place:
        parents[place] = place = parents[parents[place]]
    return place


def _joined(distances: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """All joins of average linkage by rising distance, from chains of nearest neighbours (Murtagh 1983):
    O(N^2).

    A join names one expert of each of the two groups.
    """
    size = len(distances)
    between = distances.copy()
    np.fill_diagonal(between, np.inf)
    weights = np.ones(size)
    chain: list[int] = []
    joins = []
    for _ in range(size - 1):
        chain = chain or [int(np.flatnonzero(weights)[0])]
        while True:
            last = chain[-1]
            nearest = int(between[last].argmin())
            if len(chain) > 1 and between[last, chain[-2]] <= between[last, nearest]:
                break
            chain.append(nearest)
        first, second = chain.pop(), chain.pop()
        joins.append((first, second, float(between[first, second])))
        _absorb(between, weights, first, second)
    return sorted(joins, key=lambda join: join[2])


def _absorb(between: NDArray[np.float64], weights: NDArray[np.float64], kept: int, gone: int) -> None:
    """Let one group stand for both: its distance to any other is the mean over all pairs of members."""
    whole = weights[kept] + weights[gone]
    mean = (weights[kept] * between[kept] + weights[gone] * between[gone]) / whole
    between[kept], between[:, kept] = mean, mean
    between[gone], between[:, gone] = np.inf, np.inf
    between[kept, kept] = np.inf
    weights[kept], weights[gone] = whole, 0.0


def _k_means(rows: Tensor, count: int, draw: torch.Generator) -> tuple[Labels, float]:
    """Lloyd's rounds from a k-means++ start: labels, and the sum of squared distances to the centres."""
    centres = rows[torch.randint(len(rows), (1,), generator=draw)]
    while len(centres) < count:
        spread = torch.cdist(rows, centres).square().min(1).values + 1e-12
        centres = torch.cat([centres, rows[torch.multinomial(spread, 1, generator=draw)]])
    labels = torch.full((len(rows),), -1)
    for _ in range(ROUNDS):
        before, labels = labels, torch.cdist(rows, centres).argmin(1)
        if torch.equal(before, labels):
            break
        member = torch.nn.functional.one_hot(labels, count).double()
        sizes = member.sum(0).unsqueeze(1)
        centres = torch.where(sizes > 0, (member.T @ rows) / sizes.clamp(min=1.0), centres)
    return labels, float(torch.cdist(rows, centres).min(1).values.square().sum())
