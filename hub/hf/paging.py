"""Pages of a list: as many as fit, and a Link to the rest, as clients follow it."""

import re
from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

from django.http import HttpRequest, JsonResponse

NUMBER = re.compile(r"[0-9]{1,9}\Z")
Row = TypeVar("Row")
Row_co = TypeVar("Row_co", covariant=True)


class Sliced(Protocol[Row_co]):
    """A list, or a query that is asked for a stretch only."""

    def __getitem__(self, stretch: slice, /) -> Iterable[Row_co]: ...


def page(request: HttpRequest, rows: Sliced[Row], most: int) -> tuple[list[Row], str]:
    """The rows of this page and, where there are more, the Link header to the next."""
    size = min(most, _number(request, "limit", most)) or most
    start = _number(request, "cursor", 0)
    found = list(rows[start : start + size + 1])
    if len(found) <= size:
        return found, ""
    query = request.GET.copy()
    query["cursor"] = str(start + size)
    address = request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
    return found[:size], f'<{address}>; rel="next"'


def answer(rows: list[Any], link: str) -> JsonResponse:
    response = JsonResponse(rows, safe=False)
    if link:
        response["Link"] = link
    return response


def _number(request: HttpRequest, name: str, otherwise: int) -> int:
    said = request.GET.get(name, "")
    return int(said) if NUMBER.match(said) else otherwise
