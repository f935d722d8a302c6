"""Who speaks where: a text is read by the serving process, and each layer says whom it chose."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from hub.accounts.addresses import address
from hub.errors import HubError
from hub.http import status_of
from hub.pages.hearing import TextForm, table
from hub.pages.listing import library_called
from hub.playground.asking import may_ask
from hub.playground.events import BrokeOff


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def speakers(request: HttpRequest, slug: str) -> HttpResponse:
    library = library_called(slug)
    form = TextForm(request.POST) if request.method == "POST" else TextForm()
    found, error = None, None
    if request.method == "POST" and form.is_valid():
        try:
            found = table(form, library=library, visitor=request.user, address=address(request))
        except (HubError, BrokeOff) as refused:
            error = refused
    context = {
        "library": library,
        "form": form,
        "found": found,
        "error": error,
        "may_ask": may_ask(request.user),
    }
    status = status_of(error) if isinstance(error, HubError) else 200
    return render(request, "library/speakers.html", context, status=status)
