"""For programs that follow this hub: Atom feeds of what happens, and what search engines may read."""

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.feedgenerator import Atom1Feed
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from hub.http import own_address
from hub.library.models import Library
from hub.pages import activity
from hub.pages.listing import library_called

# Pages that are about the visitor, and addresses that are for programs.
CLOSED = ("/accounts/", "/admin/", "/api/", "/settings/", "/*/resolve/", "/adapters?")


@require_safe
@cache_control(public=True, max_age=300)
def hub(request: HttpRequest) -> HttpResponse:
    """What happened anywhere on this hub."""
    return _atom(request, None)


@require_safe
@cache_control(public=True, max_age=300)
def library(request: HttpRequest, slug: str) -> HttpResponse:
    """What happened in one library."""
    return _atom(request, library_called(slug))


@require_safe
@cache_control(public=True, max_age=86_400)
def robots(request: HttpRequest) -> HttpResponse:
    """Which pages search engines may read, and where the list of them is (RFC 9309)."""
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in CLOSED)]
    lines += ["", f"Sitemap: {own_address(request)}{reverse('sitemap')}", ""]
    return HttpResponse("\n".join(lines), content_type="text/plain; charset=utf-8")


def _atom(request: HttpRequest, of: Library | None) -> HttpResponse:
    """RFC 4287. An entry keeps its id for good, so that a reader shows it once."""
    own = own_address(request)
    feed = Atom1Feed(
        title=of.name if of else "Fletch",
        description=(of.description if of else "") or "New experts and new versions.",
        link=own + (reverse("library", args=[of.slug]) if of else "/"),
        feed_url=own + request.path,
    )
    for one in activity.newest(of):
        feed.add_item(
            title=one.title,
            link=own + one.path,
            description=one.about,
            author_name=one.by,
            pubdate=one.at,
            updateddate=one.at,
            unique_id=f"{own}/{one.key}",
        )
    return HttpResponse(feed.writeString("utf-8"), content_type="application/atom+xml; charset=utf-8")
