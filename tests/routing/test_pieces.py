"""How a pass's room for prompts is shared out: nobody's short prompt waits for another's long one."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from routing.pieces import PIECE, Reader, share_out

ROOM = 128
readers = st.builds(Reader, st.sampled_from("abcdef"), st.integers(1, 600), st.integers(0, 9))


@given(st.lists(readers, min_size=1, max_size=16), st.integers(1, 300))
def test_all_of_the_room_is_used_and_nobody_reads_more_than_there_is(asked: list[Reader], room: int) -> None:
    shares = share_out(asked, room)

    assert all(0 <= share <= reader.unread for share, reader in zip(shares, asked, strict=True))
    assert sum(shares) == min(room, sum(reader.unread for reader in asked))


def test_a_short_prompt_is_read_at_once_beside_long_ones_of_another() -> None:
    assert share_out([Reader("hog", 240)] * 10 + [Reader("other", 3)], ROOM)[-1] == 3


def test_callers_have_equal_parts_and_what_one_does_not_need_is_for_the_others() -> None:
    assert share_out([Reader("a", 900), Reader("b", 900)], ROOM) == [64, 64]
    assert share_out([Reader("a", 900), Reader("b", 10), Reader("c", 900)], ROOM) == [59, 10, 59]
    assert share_out([Reader("a", 900), Reader("a", 900), Reader("b", 900)], ROOM)[2] == 64


def test_of_one_callers_the_first_goes_on_and_the_shortest_are_read_beside_it() -> None:
    assert share_out([Reader("a", 32_000), Reader("a", 20), Reader("a", 5)], ROOM) == [103, 20, 5]
    assert share_out([Reader("a", 32_000), *[Reader("a", 60)] * 5], ROOM)[0] == ROOM // 2
    assert share_out([Reader("a", 240)] * 3, ROOM) == [ROOM, 0, 0]  # one after the other: each begins sooner


def test_pieces_are_large_enough_and_callers_take_turns() -> None:
    asked = [Reader(str(caller), 10_000) for caller in range(12)]

    def served(asked: Sequence[Reader], number: int) -> list[Reader]:
        shares = share_out(asked, ROOM)
        assert all(share in (0, PIECE) for share in shares)
        return [
            Reader(one.caller, one.unread - share, number if share else one.read_in)
            for one, share in zip(asked, shares, strict=True)
        ]

    for number in (1, 2, 3):
        asked = served(asked, number)

    assert {one.unread for one in asked} == {10_000 - PIECE}
