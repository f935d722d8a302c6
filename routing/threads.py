"""What a compiled loop has to do, shared out among as many threads as torch has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any

import torch


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


@cache
def _others(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="loops")
