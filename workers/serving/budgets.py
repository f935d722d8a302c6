"""How much each caller has left: tokens that flow in by the minute, and answers at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from workers.serving.callers import Caller
from workers.serving.errors import ApiError, invalid

MINUTE = 60.0
MANY = 10_000  # callers; beyond, those who have all of their tokens again are forgotten


@dataclass
class _Budget:
    """Tokens left at a time (`time.monotonic`); fewer than none are owed."""

    left: float
    at: float


class Budgets:
    """Tokens of each caller, in a bucket (https://en.wikipedia.org/wiki/Token_bucket) of a minute's worth.

    Whoever has any left may ask; what an answer takes is charged as it is read and written, since nobody
    knows before how long it will be. What was taken beyond the bucket is owed, so over minutes nobody gets
    more than their limit. For the event loop alone.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._budgets: dict[tuple[bytes | None, str], _Budget] = {}

    def require_tokens(self, caller: Caller) -> None:
        """ApiError while this caller has none left; it says when to come back."""
        limit = caller.tokens_per_minute
        if limit is None:
            return
        self._forget(self._clock())
        left = self._budget(caller, limit).left
        if left < 1:
            seconds = math.ceil((1 - left) * MINUTE / limit)
            raise ApiError(
                429,
                f"{caller.name} has used the {limit} tokens of this minute; try again in {seconds} s",
                code="rate_limit_exceeded",
                retry_after=seconds,
            )

    def charge(self, caller: Caller, tokens: int) -> None:
        """An answer to this caller has taken so many more tokens, read and written."""
        if caller.tokens_per_minute is not None:
            self._budget(caller, caller.tokens_per_minute).left -= tokens

    def _budget(self, caller: Caller, limit: int) -> _Budget:
        """The caller's bucket as it is now."""
        now = self._clock()
        budget = self._budgets.setdefault((caller.key, caller.name), _Budget(limit, now))
        budget.left = min(limit, budget.left + (now - budget.at) * limit / MINUTE)
        budget.at = now
        return budget

    def _forget(self, now: float) -> None:
        if len(self._budgets) < MANY:
            return
        rested = [key for key, one in self._budgets.items() if one.left >= 0 and now - one.at > MINUTE]
        for key in rested:
            del self._budgets[key]


def require_answers(caller: Caller, held: int, wanted: int) -> None:
    """ApiError if so many answers, beside those that the caller has already, are more than they may have."""
    if caller.answers is not None and wanted > caller.answers:
        said = (
            f"found {wanted} answers, expected at most {caller.answers}, as many as the pass allows at once"
        )
        raise invalid("n", said, code="too_many_answers")
    if caller.answers is not None and held + wanted > caller.answers:
        raise ApiError(
            429,
            f"{caller.name} has {held} answers under way or waiting and asks for {wanted} more; at most "
            f"{caller.answers} at once",
            code="too_many_answers",
            retry_after=1,
        )
