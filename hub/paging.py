"""A part of a long list of experts in the JSON API. Who asks for no part is told all."""

from ninja import P, QueryEx

MOST, FURTHEST = 1_000, 1_000_000
Limit = QueryEx[int | None, P(ge=1, le=MOST, description="at most so many experts; all, if left out")]
Offset = QueryEx[int, P(ge=0, le=FURTHEST, description="without so many that come first")]


def part(limit: int | None, offset: int) -> slice:
    return slice(offset, None if limit is None else offset + limit)
