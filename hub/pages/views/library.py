"""The pages of libraries, and of all adapters."""

from django.conf import settings
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from hub.clusters.queries import newest_clustering
from hub.decisions import queries as record
from hub.indexes.models import ComposedCheckpoint
from hub.library.policy import in_words
from hub.mirrors.queries import mirrors
from hub.pages import home as shelf
from hub.pages import listing, maps, showing, snippets
from hub.pages.browsing import browse_page

PAGE = 20
RECENT = 5
TO_ASK = 3


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What this hub is, and its libraries."""
    page = shelf.libraries(request.GET.get("page"))
    served = [library for library in page if library.current][:TO_ASK]
    context = {"page": page, "cards": list(shelf.cards(page)), "served": served}
    return render(request, "library/home.html", context)


@require_safe
def library(request: HttpRequest, slug: str) -> HttpResponse:
    found = listing.library_called(slug)
    answering = showing.served(request, found)
    page = Paginator(listing.adapters_of(found, request.user), PAGE).get_page(request.GET.get("page"))
    clustered = newest_clustering(found.pk)
    checkpoints = ComposedCheckpoint.objects.filter(library=found).select_related("version", "requested_by")
    context = {
        "library": found,
        "page": page,
        "served": listing.served(found, page),
        "checkpoints": checkpoints[:RECENT],
        "clusters": clustered,
        "map": maps.preview(clustered) if clustered else None,
        "mirrors": mirrors(found),
        "routing": in_words(found.current.policy) if found.current else "",
        "serving_url": settings.SERVING_URL,
        "ask": snippets.ask_served_model(answering, found.slug),
        "client": snippets.openai_client(answering, found.slug),
    }
    return render(request, "library/library.html", context)


@require_safe
def browse(request: HttpRequest) -> HttpResponse:
    """All adapters: searched, narrowed by facets and sorted as the address says."""
    return render(request, "browse/browse.html", browse_page(request))


@require_safe
def expert_map(request: HttpRequest, slug: str) -> HttpResponse:
    """Who is like whom."""
    return render(request, "library/map.html", maps.map_page(request, listing.library_called(slug)))


@require_safe
def decisions(request: HttpRequest, slug: str) -> HttpResponse:
    """The library's audit trail, the newest first."""
    found = listing.library_called(slug)
    page = Paginator(record.of_library(found, request.user), PAGE).get_page(request.GET.get("page"))
    return render(request, "library/decisions.html", {"library": found, "page": page})
