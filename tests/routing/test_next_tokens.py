"""Single tokens of many answers in one loop: what torch's attention says, and to the bit what each gets alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from routing import attention_loops, next_tokens
from routing.next_tokens import attend, place_of
from routing.ragged import FIRST_ROOM, Piece, Strand, attention, ragged
from routing.threads import side_by_side

LAYER = SimpleNamespace(layer_idx=3)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Heads:
    """How attention is shaped."""

    kept: int = 2
    group: int = 3
    width: int = 8
    value_width: int = 8
    window: int | None = None
    scaling: float | None = None

    def numbers(self, tokens: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of a pass as transformers hands them on."""
        draw = torch.Generator().manual_seed(seed)
        shapes = (
            (self.kept * self.group, self.width),
            (self.kept, self.width),
            (self.kept, self.value_width),
        )
        query, key, value = (
            torch.randn(1, tokens, *shape, generator=draw).transpose(1, 2) for shape in shapes
        )
        return query, key, value


def strand_of(heads: Heads, length: int, seed: int, most: int | None = None) -> Strand:
    strand = Strand(most=most)
    if length:
        _, key, value = heads.numbers(length, seed)
        strand.write(LAYER.layer_idx, key[0], value[0])
        strand.length = length
    return strand


@torch.inference_mode()
def read(
    heads: Heads, strands: Sequence[Strand], counts: Sequence[int], numbers: tuple[Tensor, ...]
) -> Tensor:
    """What a pass with so many tokens of each answer reads [tokens, heads, value_width]; strands are as before."""
    stops = torch.tensor(counts).cumsum(0).tolist()
    pieces = [
        Piece(strand, slice(stop - count, stop))
        for strand, count, stop in zip(strands, counts, stops, strict=True)
    ]
    query, key, value = numbers
    with ragged(pieces):
        output, _ = attention(
            LAYER, query, key, value, None, scaling=heads.scaling, sliding_window=heads.window
        )
    return output[0]


def expected(heads: Heads, strand: Strand, query: Tensor, end: int) -> Tensor:
    """Of one answer whose first `end` tokens are kept, in float64: what the latest of them reads."""
    first = 0 if heads.window is None else max(0, end - heads.window)
    keys, values = (
        held[LAYER.layer_idx][:, first:end].double().repeat_interleave(heads.group, dim=0)
        for held in (strand.keys, strand.values)
    )
    asked = query.double().unsqueeze(1)
    return scaled_dot_product_attention(asked, keys, values, scale=heads.scaling)[:, 0].float()


shapes = st.builds(
    Heads,
    kept=st.integers(1, 4),
    group=st.integers(1, 5),
    width=st.sampled_from([1, 5, 8, 17, 64, 80, 100, 128]),
    value_width=st.sampled_from([1, 7, 8, 64, 128]),
    window=st.none() | st.integers(1, 80),
    scaling=st.none() | st.sampled_from([0.01, 0.5, 2.0]),
)


@settings(max_examples=80)
@given(
    shapes, st.lists(st.tuples(st.integers(0, 300), st.sampled_from([1, 1, 2, 5])), min_size=1, max_size=6)
)
def test_reads_what_torch_says_whoever_is_beside_it(heads: Heads, answers: list[tuple[int, int]]) -> None:
    lengths, counts = [length for length, _ in answers], [count for _, count in answers]
    strands = [strand_of(heads, length, seed) for seed, length in enumerate(lengths)]
    numbers = heads.numbers(sum(counts), seed=99)

    said = read(heads, strands, counts, numbers)

    row = 0
    for strand, length, count in zip(strands, lengths, counts, strict=True):
        for place in range(count):
            query = numbers[0][0, :, row + place]
            wanted = expected(heads, strand, query, length + place + 1)
            torch.testing.assert_close(said[row + place], wanted, atol=2e-5, rtol=2e-5)
        row += count


@settings(max_examples=40)
@given(shapes, st.lists(st.integers(0, 200), min_size=2, max_size=16), st.data())
def test_a_token_gets_to_the_bit_what_it_gets_alone(
    heads: Heads, lengths: list[int], data: st.DataObject
) -> None:
    counts = [data.draw(st.sampled_from([1, 1, 3])) for _ in lengths[1:]] + [1]
    numbers = heads.numbers(sum(counts), seed=7)

    together = read(heads, [strand_of(heads, one, seed) for seed, one in enumerate(lengths)], counts, numbers)

    mine = tuple(part[:, :, -1:] for part in numbers)
    alone = read(heads, [strand_of(heads, lengths[-1], len(lengths) - 1)], [1], mine)
    assert torch.equal(together[-1], alone[0])


def test_as_many_threads_as_torch_has_say_the_same() -> None:
    heads = Heads(width=64, value_width=64)
    numbers = heads.numbers(5, seed=1)
    lengths = [3, 7000, 40, 900, 1]

    def said() -> Tensor:
        return read(
            heads, [strand_of(heads, one, seed) for seed, one in enumerate(lengths)], [1] * 5, numbers
        )

    alone = said()
    torch.set_num_threads(3)
    with patch("routing.next_tokens.side_by_side", wraps=side_by_side) as shared:
        assert torch.equal(said(), alone)
    assert len(shared.call_args.args[1]) > 1


@pytest.mark.parametrize("most", [None, 90])
def test_rooms_grow_with_the_answer_and_size_says_so(most: int | None) -> None:
    heads, strand = Heads(), Strand(most=most)

    for length in range(90):
        numbers = heads.numbers(1, seed=length)
        said = read(heads, [strand], [1], numbers)
        strand.length += 1
        torch.testing.assert_close(
            said[0], expected(heads, strand, numbers[0][0, :, 0], length + 1), atol=1e-5, rtol=1e-5
        )
        room = FIRST_ROOM if length < FIRST_ROOM else most or 2 * FIRST_ROOM
        assert strand.size == room * heads.kept * (heads.width + heads.value_width) * 4


def test_a_room_that_a_longer_piece_made_grow_is_found_again() -> None:
    heads, strand = Heads(), Strand()
    for count in (1, 3, 1, 150, 1):
        numbers = heads.numbers(count, seed=count)
        said = read(heads, [strand], [count], numbers)
        strand.length += count
        wanted = expected(heads, strand, numbers[0][0, :, -1], strand.length)
        torch.testing.assert_close(said[-1], wanted, atol=1e-5, rtol=1e-5)


def test_a_copy_of_the_beginning_goes_its_own_way() -> None:
    heads = Heads()
    whole = strand_of(heads, 50, seed=1)
    copy, before = whole.beginning(20), whole.beginning(50)
    numbers = heads.numbers(2, seed=2)

    said = read(heads, [copy, whole], [1, 1], numbers)

    for row, (strand, length) in enumerate([(copy, 20), (whole, 50)]):
        wanted = expected(heads, strand, numbers[0][0, :, row], length + 1)
        torch.testing.assert_close(said[row], wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal(whole.keys[3][:, :50], before.keys[3])
    assert torch.equal(whole.values[3][:, :50], before.values[3])
    assert torch.equal(copy.values[3][:, :20], before.values[3][:, :20])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("where", ["query", "key", "value"])
def test_what_is_not_finite_shows_in_its_own_answer_alone(number: float, where: str) -> None:
    heads = Heads(kept=1, group=1)
    numbers = heads.numbers(3, seed=5)
    strands = [strand_of(heads, length, seed) for seed, length in enumerate([9, 30, 12])]
    sound = read(heads, strands, [1, 1, 1], numbers)
    if where == "query":
        numbers[0][0, 0, 1, 2] = number
    else:
        (strands[1].keys if where == "key" else strands[1].values)[3][0, 11, 2] = number

    said = read(heads, strands, [1, 1, 1], numbers)

    key_is_out = where == "key" and float(numbers[0][0, 0, 1, 2]) * number == float("-inf")
    assert bool(said[1].isfinite().all()) is key_is_out  # a score of -inf is a weight of zero
    assert torch.equal(said[[0, 2]], sound[[0, 2]])


def test_scores_far_apart_are_the_first_ones_share() -> None:
    scores = torch.tensor([3e38, 0.0, -3e38, 3e38, float("-inf")])
    attention_loops.share_out(scores.numpy())
    assert scores.tolist() == [0.5, 0.0, 0.0, 0.5, 0.0]


def test_exponentials_are_right_to_the_last_bits() -> None:
    scores = torch.linspace(-86.9, 0.0, 100_001)
    said = scores.clone()
    attention_loops.exponentials(said.numpy(), np.float32(0.0))
    torch.testing.assert_close(said.double(), scores.double().exp(), rtol=1.2e-7, atol=0.0)


def test_without_a_loop_torch_says_the_same_and_the_log_why(caplog: pytest.LogCaptureFixture) -> None:
    heads = Heads(window=20)
    numbers = heads.numbers(4, seed=3)
    lengths, counts = [5, 70, 0], [1, 2, 1]

    def said() -> Tensor:
        return read(heads, [strand_of(heads, one, seed) for seed, one in enumerate(lengths)], counts, numbers)

    compiled = said()
    next_tokens.loops.cache_clear()
    try:
        with (
            patch.object(attention_loops, "attend", side_effect=OSError("no room for code")),
            caplog.at_level(logging.WARNING),
        ):
            plain = said()
    finally:
        next_tokens.loops.cache_clear()

    assert "attended to one by one, by torch: OSError: no room for code" in caplog.text
    torch.testing.assert_close(plain, compiled, atol=1e-5, rtol=1e-5)


def test_a_loop_that_says_something_else_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    def wrong(output: Tensor, *_: object) -> None:
        output[:] = 0.25

    next_tokens.loops.cache_clear()
    try:
        with patch.object(attention_loops, "attend", wrong), caplog.at_level(logging.WARNING):
            assert next_tokens.loops() is None
    finally:
        next_tokens.loops.cache_clear()
    assert "ArithmeticError: of 1 tokens it reads" in caplog.text


def test_whoever_learns_is_left_to_torch() -> None:
    heads, strand = Heads(), Strand()
    query, key, value = heads.numbers(1, seed=1)
    query.requires_grad_()

    with ragged([Piece(strand, slice(0, 1))]):
        output, _ = attention(LAYER, query, key, value, None)

    assert output.requires_grad


def test_half_precision_is_left_to_torch() -> None:
    heads, strand = Heads(), Strand()
    query, key, value = (part.bfloat16() for part in heads.numbers(1, seed=1))

    said = read(heads, [strand], [1], (query, key, value))

    assert said.dtype == torch.bfloat16
    assert torch.equal(said[0, ::3], value[0, :, 0])  # of one token alone everybody reads its value


@torch.inference_mode()
def test_nothing_is_written_where_there_is_no_room() -> None:
    heads = Heads()
    query, key, value = (part[0] for part in heads.numbers(1, seed=1))
    place = place_of(torch.zeros(2, 4, 8), torch.zeros(2, 4, 8))

    with pytest.raises(ValueError, match="want a place for 5 tokens"):
        attend(query, key, value, [0], [4], [place])
    with pytest.raises(ValueError, match=r"of \(1, 8, 8\) kept"):
        attend(query, key[:1], value[:1], [0], [0], [place])
    with pytest.raises(ValueError, match=r"of torch\.float64"):
        place_of(torch.zeros(2, 4, 8), torch.zeros(2, 4, 8).double())
    with pytest.raises(ValueError, match="row behind row"):
        place_of(torch.zeros(2, 8, 4).mT, torch.zeros(2, 4, 8))
