"""How the room that a pass has for prompts is shared out among those who read one.

Between callers by turns, each at most an equal part while others want more, so that a short prompt waits for
nobody's long one. Of a caller's part one half is for who came first, so that a long prompt is read at last,
and the rest for who has least left to read. All of the room is used, so that no more passes are needed.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

# Tokens of a caller at least, or what they have; with fewer attention would cost more than it reads.
PIECE = 32


class Reader(NamedTuple):
    """Whose prompt it is, how many tokens are unread, and in which pass the caller last had some read."""

    caller: Hashable
    unread: int
    read_in: int = 0


def share_out(readers: Sequence[Reader], room: int) -> list[int]:
    """How many tokens each reads in a pass with room for so many, in their order: 0, not yet."""
    shares = [0] * len(readers)
    for mine, part in _parts(_in_turn(readers, room), room):
        rest = part
        for place, most in _order(mine, part):
            taken = min(mine[place] - shares[place], most, rest)
            shares[place] += taken
            rest -= taken
    return shares


Unread = dict[int, int]  # by place among the readers


def _in_turn(readers: Sequence[Reader], room: int) -> list[Unread]:
    """What each caller has to read whose turn it is: who was served longest ago, while a piece fits."""
    callers: dict[Hashable, Unread] = {}
    latest: dict[Hashable, int] = {}
    for place, reader in enumerate(readers):
        callers.setdefault(reader.caller, {})[place] = reader.unread
        latest[reader.caller] = max(latest.get(reader.caller, 0), reader.read_in)
    chosen, taken = list[Unread](), 0
    for caller in sorted(callers, key=lambda one: latest[one]):
        if taken >= room:
            break
        chosen.append(callers[caller])
        taken += min(PIECE, sum(callers[caller].values()))
    return chosen


def _parts(callers: Sequence[Unread], room: int) -> list[tuple[Unread, int]]:
    """Equal parts for all; what one does not need is for those who do."""
    parts = []
    by_need = sorted(callers, key=lambda unread: sum(unread.values()))
    for place, unread in enumerate(by_need):
        part = min(sum(unread.values()), room // (len(by_need) - place))
        parts.append((unread, part))
        room -= part
    return parts


def _order(unread: Unread, part: int) -> list[tuple[int, int]]:
    """One caller's readers and how many tokens each may have: half for the first, then the shortest."""
    first = min(unread)
    half = min(unread[first], part // 2)
    left = {**unread, first: unread[first] - half}
    return [(first, half), *((place, part) for place in sorted(left, key=lambda one: left[one]))]
