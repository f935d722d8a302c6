"""What a compiled loop has to do, shared out among as many threads as torch has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from numpy.typing import NDArray

SHARE = 2**20  # products of a weight with up to eight tokens that are worth waking another thread for


def side_by_side(loop: Callable[..., None], shares: Sequence[tuple[Any, ...]]) -> None:
    """Call a loop that holds no lock of the interpreter with all shares at once, at most torch's threads."""
    if len(shares) == 1:
        loop(*shares[0])
        return
    others = [_others(torch.get_num_threads() - 1).submit(loop, *share) for share in shares[1:]]
    loop(*shares[0])
    wait(others)
    for other in others:
        other.result()


def by_panels(
    loop: Callable[..., None], output: NDArray[Any], hidden: NDArray[Any], panels: NDArray[Any]
) -> None:
    """`panel_loops.multiply` by as many of torch's threads as have enough to do, each with some panels."""
    if torch.get_num_threads() == 1:
        loop(output, hidden, panels, 0, len(panels))
        return
    enough = max(1, panels.size * -(-len(hidden) // 8) // SHARE)
    side_by_side(loop, [(output, hidden, panels, *part) for part in parts(len(panels), enough)])


def parts(count: int, most: int) -> list[tuple[int, int]]:
    """So many things in neighbouring parts of nearly equal size, at most one for each of torch's threads."""
    shares = max(1, min(torch.get_num_threads(), count, most))
    return list(pairwise(count * share // shares for share in range(shares + 1)))


@cache
def _others(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="loops")
