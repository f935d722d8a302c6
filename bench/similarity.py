"""How long all cosines between many experts take, what one more costs, what a short list misses, and what
is found.

python -m bench.similarity [--experts 100 1000] [--device cpu]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bench.planted import agreement, planted
from bench.report import named, save, show
from routing.adapter import LowRank
from routing.clustering import average_linkage, cluster, rows_by_k_means
from routing.expert_map import placed
from routing.factors import Factors, canonical, fingerprint
from routing.similarity import BLOCK, NONE, Similarity, extended, nearest, neighbours, similarity

# A base of the demonstration's size: four layers of seven linears.
WIDTHS = {
    f"layers.{layer}.{name}": widths
    for layer in range(4)
    for name, widths in {
        "q": (192, 192),
        "k": (192, 96),
        "v": (192, 96),
        "o": (192, 192),
        "gate": (192, 512),
        "up": (192, 512),
        "down": (512, 192),
    }.items()
}
COUNT = 10
LISTS = (10, 20, 50, 100)
LIBRARIES: Mapping[str, Mapping[str, Any]] = {
    "same start, rank 8": {"shared_start": True},
    "own starts, rank 8": {},
    "own starts, ranks 4, 8, 16, scales 0.1 to 7": {"ranks": (4, 8, 16), "scales": (0.1, 1.0, 7.0)},
    "tasks with more of their own (noise 1.5)": {"noise": 1.5},
    "8 steps of training": {"steps": 8},
}
SEEDS = range(5)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser("bench.similarity", description=__doc__)
    parser.add_argument("--experts", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    times = [timed(count, given.device) for count in given.experts]
    columns = ["experts", "all pairs, s", "one more, s", "groups, s", "map, s"]
    columns += [f"recall of {COUNT} from {length}" for length in LISTS]
    show(
        f"{len(WIDTHS)} modules 96 to 512 wide, ranks 4 to 16, in float64 on {given.device}",
        columns,
        [[f"{value:.3g}" for value in line.values()] for line in times],
    )
    found = [recovered(name, options) for name, options in LIBRARIES.items()]
    show(
        f"20 planted tasks in 4 groups, mean of {len(SEEDS)} seeds: adjusted Rand index",
        list(found[0]),
        [[value if isinstance(value, str) else f"{value:.2f}" for value in line.values()] for line in found],
    )
    save(named("similarity", given, "device"), {"device": given.device, "times": times, "planted": found})


def timed(count: int, device: str) -> dict[str, float]:
    """Seconds for each part, and the share of the true nearest that short lists of fingerprints hold."""
    experts = library(count)
    names = list(experts)
    whole, all_pairs = _clocked(
        lambda: extended(NONE, names, experts.__getitem__, block=BLOCK, device=device)
    )
    but_one, _ = _clocked(lambda: extended(whole, names[:-1], experts.__getitem__))
    _, one_more = _clocked(lambda: extended(but_one, names, experts.__getitem__, device=device))
    _, groups = _clocked(lambda: cluster(whole))
    _, mapping = _clocked(lambda: placed(whole))
    times = {"experts": count, "all_pairs": all_pairs, "one_more": one_more, "groups": groups, "map": mapping}
    return times | recall(experts, whole)


def recall(experts: Mapping[str, Mapping[str, Factors]], whole: Similarity) -> dict[str, float]:
    """Which share of the ten nearest the search finds, over some experts, by the length of its short list."""
    sketches = {name: fingerprint(one) for name, one in experts.items()}
    true = neighbours(whole, COUNT)
    asked = list(experts)[:: max(1, len(experts) // 20)]
    shares = {}
    for length in LISTS:
        hits = 0
        for name in asked:
            others = {other: sketch for other, sketch in sketches.items() if other != name}
            found = nearest(experts[name], others, experts.__getitem__, count=COUNT, shortlist=length)
            hits += len({one.name for one in found} & {one.name for one in true[name]})
        shares[f"recall_{length}"] = hits / (COUNT * len(asked))
    return shares


def library(count: int) -> dict[str, dict[str, Factors]]:
    """Experts in families of about twenty that share a direction, with ranks and families of all kinds."""
    draw = torch.Generator().manual_seed(0)
    families = max(2, count // 20)
    common = [_random(4, draw) for _ in range(families)]
    return {
        f"expert-{number:05d}": _member(common[number % families], (4, 8, 16)[number % 3], draw)
        for number in range(count)
    }


def _random(rank: int, draw: torch.Generator) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    return {
        name: (
            torch.randn(rank, d_in, generator=draw) / d_in**0.5,
            torch.randn(d_out, rank, generator=draw) / d_out**0.5,
        )
        for name, (d_in, d_out) in WIDTHS.items()
    }


def _member(
    common: dict[str, tuple[torch.Tensor, torch.Tensor]], rank: int, draw: torch.Generator
) -> dict[str, Factors]:
    share = float(torch.rand(1, generator=draw))
    own = _random(rank, draw)
    return {
        name: canonical(
            LowRank(torch.cat([share * common[name][0], a]), torch.cat([common[name][1], b], dim=1), 1.0)
        )
        for name, (a, b) in own.items()
    }


def recovered(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """How well each way of clustering finds the planted groups, told their number or not."""
    scores: dict[str, list[float]] = {}
    for seed in SEEDS:
        grown = planted(seed=seed, **options)
        found = similarity(grown.experts)
        if "ranks" not in options:
            factors = raw_factors(grown.uploads)
            scores.setdefault("raw factors, k-means, 4", []).append(
                _score(grown.groups, factors, count=4, grouping=rows_by_k_means)
            )
        scores.setdefault("updates, k-means, 4", []).append(
            _score(grown.groups, found, count=4, grouping=rows_by_k_means)
        )
        scores.setdefault("updates, linkage, 4", []).append(
            _score(grown.groups, found, count=4, grouping=average_linkage)
        )
        scores.setdefault("updates, k-means, auto", []).append(
            _score(grown.groups, found, count=None, grouping=rows_by_k_means)
        )
        scores.setdefault("updates, linkage, auto", []).append(
            _score(grown.groups, found, count=None, grouping=average_linkage)
        )
    means: dict[str, Any] = {"library": name, "raw factors, k-means, 4": "impossible"}
    return means | {way: sum(values) / len(values) for way, values in scores.items()}


def _score(groups: Sequence[int], found: Similarity, *, count: int | None, grouping: Any) -> float:
    clusters = cluster(found, count=count, grouping=grouping)
    return agreement(groups, [clusters.of(name) for name in found.names])


def raw_factors(uploads: Mapping[str, Mapping[str, LowRank]]) -> Similarity:
    """Cosines between all A and B as one vector per adapter: only where ranks are equal."""
    names = tuple(sorted(uploads))
    vectors = [
        torch.cat([half.flatten() for update in uploads[name].values() for half in (update.a, update.b)])
        for name in names
    ]
    unit = torch.nn.functional.normalize(torch.stack(vectors).double(), dim=1)
    return Similarity(names, unit @ unit.T)


def _clocked(work: Any) -> tuple[Any, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


if __name__ == "__main__":
    main()
