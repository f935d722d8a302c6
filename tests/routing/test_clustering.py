"""Clustering: planted groups are found whatever the adapters began at, and none where there are none."""

from __future__ import annotations

import pytest
import torch

from bench.planted import Planted, agreement, planted
from routing.clustering import BadCount, Clusters, Grouping, average_linkage, cluster, rows_by_k_means
from routing.expert_map import placed
from routing.similarity import Similarity, similarity


def score(library: Planted, found: Similarity, groups: Clusters) -> float:
    return agreement(library.groups, [groups.of(name) for name in found.names])


def raw(library: Planted) -> Similarity:
    """What the paper compares: all A and B of an adapter as one vector."""
    names = tuple(sorted(library.uploads))
    vectors = [
        torch.cat(
            [half.flatten() for update in library.uploads[name].values() for half in (update.a, update.b)]
        )
        for name in names
    ]
    unit = torch.nn.functional.normalize(torch.stack(vectors).double(), dim=1)
    return Similarity(names, unit @ unit.T)


@pytest.mark.parametrize("grouping", [average_linkage, rows_by_k_means])
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_groups_are_found_with_their_number_where_raw_factors_fail(
    grouping: Grouping, seed: int
) -> None:
    library = planted(seed=seed, steps=40)
    found = similarity(library.experts)

    groups = cluster(found, grouping=grouping)

    assert score(library, found, groups) == 1.0
    assert len(groups.groups) == 4
    assert groups.silhouette == max(groups.by_count.values())
    assert score(library, raw(library), cluster(raw(library), count=4, grouping=grouping)) < 0.4


def test_raw_factors_need_a_shared_start() -> None:
    library = planted(shared_start=True, steps=40)

    assert score(library, raw(library), cluster(raw(library), count=4)) == 1.0


def test_ranks_and_scales_change_nothing() -> None:
    library = planted(ranks=(4, 8, 16), scales=(0.1, 1.0, 7.0), steps=40)
    found = similarity(library.experts)

    assert score(library, found, cluster(found)) == 1.0


def test_where_nothing_is_alike_there_is_one_group_and_no_clarity() -> None:
    found = similarity(planted(groups=12, each=1, steps=20).experts)

    groups = cluster(found)

    assert len(groups.groups) == 1
    assert groups.silhouette == 0.0
    assert len(cluster(found, count=3).groups) == 3


def test_the_order_of_experts_changes_nothing_and_equal_input_gives_equal_groups() -> None:
    library = planted(steps=20)
    names = sorted(library.experts)

    turned = cluster(similarity({name: library.experts[name] for name in reversed(names)}))

    assert turned == cluster(similarity(library.experts))


def test_groups_are_numbered_by_their_first_names_and_hold_everybody_once() -> None:
    found = similarity(planted(steps=20).experts)

    groups = cluster(found, count=7).groups

    assert sorted(name for group in groups for name in group) == sorted(found.names)
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)


@pytest.mark.parametrize("count", [0, 21])
def test_an_impossible_count_is_refused(count: int) -> None:
    with pytest.raises(BadCount, match=f"found {count}, expected 1 to 20"):
        cluster(similarity(planted(steps=5).experts), count=count)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_few_experts_are_one_group(size: int) -> None:
    experts = planted(groups=2, each=1, steps=5).experts
    found = similarity({name: experts[name] for name in sorted(experts)[:size]})

    assert len(cluster(found).groups) == min(size, 1)
    assert len(placed(found)) == size


def test_the_map_keeps_groups_together_and_apart() -> None:
    library = planted(groups=3, steps=40)
    found = similarity(library.experts)

    places = torch.tensor([placed(found)[name] for name in found.names])

    apart = torch.cdist(places, places)
    same = torch.tensor(library.groups).unsqueeze(1) == torch.tensor(library.groups)
    assert apart[same].max() < apart[~same].min()


def test_a_map_lies_on_the_one_before_it() -> None:
    library = planted(groups=3, steps=40)
    names = sorted(library.experts)
    before = placed(similarity({name: library.experts[name] for name in names[:-1]}))
    mirrored = {name: (-y, x) for name, (x, y) in before.items()}

    after = placed(similarity(library.experts), mirrored)

    moved = [torch.dist(torch.tensor(after[name]), torch.tensor(mirrored[name])) for name in mirrored]
    assert max(moved) < 0.2
    assert placed(similarity(library.experts), mirrored) == after


def test_a_large_map_comes_from_the_leading_directions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = similarity(planted(groups=3, steps=40, noise=0.4).experts)
    exact = placed(found)
    monkeypatch.setattr("routing.expert_map.EXACT", 5)

    iterated = placed(found)

    for name, place in exact.items():
        assert iterated[name] == pytest.approx(place, abs=1e-5)
