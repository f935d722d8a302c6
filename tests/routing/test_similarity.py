"""Similarity: exact cosines of whole updates, computed many at once, grown one at a time."""

from __future__ import annotations

import pytest
import torch

from routing.adapter import LowRank
from routing.factors import Factors, canonical, cosine, fingerprint
from routing.similarity import NONE, duplicates, extended, mean_cosine, nearest, neighbours, similarity

WIDTHS = {"q": (12, 10), "v": (12, 6), "down": (20, 12)}


def expert(
    seed: int, *, rank: int = 3, modules: tuple[str, ...] = tuple(WIDTHS), scale: float = 1.0
) -> dict[str, Factors]:
    draw = torch.Generator().manual_seed(seed)
    low = {
        name: LowRank(
            torch.randn(rank, d_in, generator=draw), torch.randn(d_out, rank, generator=draw), scale
        )
        for name, (d_in, d_out) in WIDTHS.items()
    }
    return {name: canonical(low[name]) for name in modules}


@pytest.fixture
def experts() -> dict[str, dict[str, Factors]]:
    """Different ranks, scales and sets of modules; the last is the first again, rescaled."""
    return {
        "ann/a": expert(0, rank=1),
        "ann/b": expert(1, rank=5, scale=30.0),
        "bob/c": expert(2, rank=3, modules=("q", "down")),
        "bob/d": expert(3, rank=2, modules=("v",)),
        "cat/e": expert(4, rank=4),
        "cat/f": expert(0, rank=1, scale=0.01),
    }


def dense_cosine(f: dict[str, Factors], g: dict[str, Factors]) -> float:
    def flat(one: dict[str, Factors]) -> torch.Tensor:
        return torch.cat(
            [
                (one[name].b.double() @ one[name].a.double()).flatten()
                if name in one
                else torch.zeros(d_in * d_out, dtype=torch.float64)
                for name, (d_in, d_out) in WIDTHS.items()
            ]
        )

    return float(torch.nn.functional.cosine_similarity(flat(f), flat(g), dim=0))


@pytest.mark.parametrize("block", [1, 2, 64])
def test_all_pairs_are_the_cosines_of_the_dense_updates(
    experts: dict[str, dict[str, Factors]], block: int
) -> None:
    found = extended(NONE, list(experts), experts.__getitem__, block=block)

    expected = torch.tensor([[dense_cosine(f, g) for g in experts.values()] for f in experts.values()])
    assert found.names == tuple(sorted(experts))
    torch.testing.assert_close(found.cosines, expected.double(), atol=1e-6, rtol=0)


def test_a_new_expert_costs_only_its_own_pairs(experts: dict[str, dict[str, Factors]]) -> None:
    whole = similarity(experts)
    without = similarity({name: one for name, one in experts.items() if name != "bob/c"})
    steps: list[tuple[int, int]] = []

    grown = extended(
        without, list(experts), experts.__getitem__, progress=lambda done, total: steps.append((done, total))
    )

    torch.testing.assert_close(grown.cosines, whole.cosines)
    assert steps[-1] == (6, 6)  # itself and five others
    assert torch.equal(grown.cosines, grown.cosines.T)


def test_an_expert_that_leaves_takes_nothing_to_compute(experts: dict[str, dict[str, Factors]]) -> None:
    whole = similarity(experts)
    staying = [name for name in experts if name != "ann/b"]

    def nobody(name: str) -> dict[str, Factors]:
        raise AssertionError(name)

    fewer = extended(whole, staying, nobody)

    rows = [whole.places[name] for name in fewer.names]
    assert torch.equal(fewer.cosines, whole.cosines[rows][:, rows])


def test_neighbours_are_sorted_and_never_oneself(experts: dict[str, dict[str, Factors]]) -> None:
    found = similarity(experts)

    near = neighbours(found, 3)

    assert near["ann/a"][0].name == "cat/f"
    assert near["ann/a"][0].cosine == pytest.approx(1.0, abs=1e-6)
    for name, others in near.items():
        assert len(others) == 3
        assert name not in {one.name for one in others}
        assert [one.cosine for one in others] == sorted((one.cosine for one in others), reverse=True)


def test_copies_form_groups(experts: dict[str, dict[str, Factors]]) -> None:
    again = experts | {"dan/g": expert(4, rank=4, scale=2.0), "dan/h": expert(4, rank=4, scale=5.0)}

    found = duplicates(similarity(again))

    assert found == [("ann/a", "cat/f"), ("cat/e", "dan/g", "dan/h")]


def test_a_short_list_of_all_finds_what_the_matrix_says_and_a_short_one_reads_no_more(
    experts: dict[str, dict[str, Factors]],
) -> None:
    asked = experts.pop("ann/a")
    sketches = {name: fingerprint(one) for name, one in experts.items()}
    read: list[str] = []

    def reading(name: str) -> dict[str, Factors]:
        read.append(name)
        return experts[name]

    found = nearest(asked, sketches, reading, count=2, shortlist=5)

    best = sorted(experts, key=lambda name: -cosine(asked, experts[name]))[:2]
    assert [one.name for one in found] == best
    read.clear()
    assert [one.name for one in nearest(asked, sketches, reading, count=1, shortlist=2)] == ["cat/f"]
    assert len(read) == 2


def test_the_mean_cosine_of_a_group_leaves_out_the_diagonal(experts: dict[str, dict[str, Factors]]) -> None:
    found = similarity(experts)

    assert mean_cosine(found, ["ann/a"]) == 1.0
    assert mean_cosine(found, ["ann/a", "cat/f"]) == pytest.approx(1.0, abs=1e-6)
    assert mean_cosine(found, ["bob/d", "bob/c"]) == pytest.approx(0.0, abs=1e-6)  # no module in common
