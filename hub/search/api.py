"""Searching adapters."""

from django.core.paginator import Paginator
from django.http import HttpRequest
from ninja import Query, Router

from hub import schemas
from hub.accounts.visitors import AnyVisitor, reader
from hub.search.asking import asked
from hub.search.finding import Found
from hub.search.schemas import AdaptersFound, SearchIn

router = Router(tags=["adapters"], auth=AnyVisitor())


@router.get(
    "/adapters",
    response={200: AdaptersFound, 400: schemas.Problem},
    operation_id="adapters",
)
def adapters(request: HttpRequest, wanted: Query[SearchIn]) -> AdaptersFound:
    """The adapters that you may know of and that match everything that you ask, and how many there are of
    what.
    """
    # Pages and API read the search from the address by the same code.
    found = Found(reader(request), asked(request.GET, words_in="search"))
    pages = Paginator(found.adapters, wanted.limit)
    pages.count = found.total
    page = pages.get_page(wanted.page)
    return AdaptersFound.of(found, page, page=page.number, pages=pages.num_pages)
