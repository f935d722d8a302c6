"""Social cards: what other sites show beside a link to the hub, a library, an adapter or somebody's page."""

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from hub.pages import listing, reading
from hub.pages.social import keeping, saying
from hub.pages.social.faces import Face

AN_HOUR = 3600


@require_safe
@cache_control(public=True, max_age=AN_HOUR)
def hub(request: HttpRequest) -> HttpResponse:
    return _card(request, saying.hub())


@require_safe
@cache_control(public=True, max_age=AN_HOUR)
def library(request: HttpRequest, slug: str) -> HttpResponse:
    return _card(request, saying.library(listing.library_called(slug)))


@require_safe
@cache_control(public=True, max_age=AN_HOUR)
def adapter(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Of a private one there is none, even for its owner: whoever keeps pictures would show it to others."""
    return _card(request, saying.adapter(reading.adapter_called(owner, name, AnonymousUser())))


@require_safe
@cache_control(public=True, max_age=AN_HOUR)
def person(request: HttpRequest, username: str) -> HttpResponse:
    return _card(request, saying.person(listing.person_called(username)))


def _card(request: HttpRequest, face: Face) -> HttpResponse:
    """Drawn only for whoever has no equal one."""
    etag = f'"{face.digest}"'
    answer: HttpResponse | None = get_conditional_response(request, etag=etag)
    if answer is None:
        answer = HttpResponse(keeping.picture(face), content_type="image/png")
    answer["ETag"] = etag
    return answer
