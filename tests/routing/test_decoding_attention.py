"""Attention while decoding on a GPU, in Triton's interpreter: as torch attends, wherever keys and values lie."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import pytest
import torch
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st

from routing import triton_attention, triton_calls
from routing.ragged import Piece, Strand, _attend

DTYPES = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}  # the interpreter cuts bfloat16 off
DRAWN = settings(max_examples=8)  # the interpreter takes its time
LAYER = 3


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    """Short texts have several parts, and the longest as many as there may be."""
    small = {"KEYS": tl.constexpr(4), "LEAST": tl.constexpr(8), "PARTS": tl.constexpr(3)}
    with torch.no_grad(), np.errstate(all="ignore"), patch.multiple(triton_attention, **small):
        yield


def strand_of(
    length: int, kept: int, widths: tuple[int, int], draw: torch.Generator, dtype: torch.dtype
) -> Strand:
    strand = Strand()
    strand.write(LAYER, *(torch.randn(kept, length, width, generator=draw).to(dtype) for width in widths))
    strand.length = length
    return strand


def attended(
    strands: list[Strand], asked: tuple[torch.Tensor, torch.Tensor, torch.Tensor], window: int | None = None
) -> torch.Tensor:
    table = torch.stack([strand.table()[0] for strand in strands], dim=-1)
    lengths = torch.tensor([strand.length for strand in strands])
    return triton_calls.attend(*asked, table, lengths, 0.3, window)


@DRAWN
@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=4),
    kept=st.integers(1, 3),
    group=st.sampled_from([1, 2, 3, 17]),
    widths=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    window=st.one_of(st.none(), st.integers(1, 80)),
    dtype=st.sampled_from(list(DTYPES)),
    seed=st.integers(0, 999),
)
def test_each_token_attends_to_its_own_answer_as_torch_does(
    lengths: list[int],
    kept: int,
    group: int,
    widths: tuple[int, int],
    window: int | None,
    dtype: torch.dtype,
    seed: int,
) -> None:
    width, wide = widths
    draw = torch.Generator().manual_seed(seed)
    strands = [strand_of(length, kept, widths, draw, dtype) for length in lengths]
    others = [strand.beginning(strand.length) for strand in strands]
    shapes = [(kept * group, width), (kept, width), (kept, wide)]
    query, key, value = (torch.randn(len(lengths), *shape, generator=draw).to(dtype) for shape in shapes)

    found = attended(strands, (query, key, value), window)

    for place, (strand, other) in enumerate(zip(strands, others, strict=True)):
        one = slice(place, place + 1)
        q, k, v = (part[one].transpose(0, 1).double() for part in (query, key, value))
        wider = Strand(
            other.length, {LAYER: other.keys[LAYER].double()}, {LAYER: other.values[LAYER].double()}
        )
        wanted = _attend(Piece(wider, slice(0, 1)), LAYER, q, k, v, 0.3, window)
        off = (found[place].double() - wanted[:, 0]).abs().max()
        assert off <= DTYPES[dtype] * wanted.abs().max(), float(off)
        end = strand.length + 1
        for mine, its in ((strand.keys, wider.keys), (strand.values, wider.values)):
            assert torch.equal(mine[LAYER][:, :end].double(), its[LAYER][:, :end])


def test_an_answer_gets_the_same_bits_whoever_else_is_in_its_pass() -> None:
    draw = torch.Generator().manual_seed(1)
    strands = [strand_of(length, 2, (8, 8), draw, torch.float32) for length in (3, 40, 9)]
    query, key, value = (torch.randn(3, heads, 8, generator=draw) for heads in (4, 2, 2))

    together = attended(strands, (query, key, value))
    alone = [
        attended([strand], (query[place, None], key[place, None], value[place, None]))[0]
        for place, strand in enumerate(strands)
    ]

    assert torch.equal(together, torch.stack(alone))


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_with_its_answer(broken: float) -> None:
    draw = torch.Generator().manual_seed(2)
    strands = [strand_of(20, 1, (8, 8), draw, torch.float32) for _ in range(2)]
    asked = query, key, value = tuple(torch.randn(2, heads, 8, generator=draw) for heads in (2, 1, 1))
    whole = attended(strands, (query, key, value))
    strands[0].values[LAYER][0, 11] = broken

    found = attended(strands, (query, key, value))

    assert not found[0].isfinite().any()
    assert torch.equal(found[1], whole[1])
    assert len(asked) == 3


def test_a_strand_is_found_where_it_has_moved_to() -> None:
    draw = torch.Generator().manual_seed(3)
    strand = strand_of(64, 2, (8, 8), draw, torch.float32)
    full = strand.keys[LAYER]
    before = full.clone()

    table = strand.table()

    assert strand.keys[LAYER] is not full
    assert torch.equal(strand.keys[LAYER][:, :64], before)
    assert table.tolist() == [[strand.keys[LAYER].data_ptr(), strand.values[LAYER].data_ptr(), 128, 128]]
    assert strand.table() is table  # nothing has changed since


def test_a_strand_that_grew_while_it_was_read_is_looked_up_anew() -> None:
    draw = torch.Generator().manual_seed(4)
    strand = strand_of(60, 2, (8, 8), draw, torch.float32)
    old = strand.table()
    strand.write(LAYER, *(torch.randn(2, 10, 8, generator=draw) for _ in range(2)))
    strand.length += 10

    assert strand.table()[0, 0] == strand.keys[LAYER].data_ptr() != old[0, 0]
