"""What each expert of a version contributes: read by everybody, measured by maintainers."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from hub.ablations import queries, services
from hub.ablations.models import Ablation
from hub.adapters import uploading
from hub.errors import Conflict, HubError, Invalid, NotFound
from hub.http import status_of
from hub.indexes import queries as indexes
from hub.indexes.models import IndexVersion
from hub.library.permissions import require_maintain
from hub.pages.ablation import MeasureForm, contributions_page, progress
from hub.pages.listing import library_called
from hub.pages.parts import BY_SCRIPT, asked_by_script
from hub.pages.visitors import signed_in


@require_http_methods(["GET", "HEAD", "POST"])
def contributions(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """A GET shows what was measured; a POST asks for a measurement, as a maintainer."""
    version = indexes.version(library_called(slug), number)
    if request.method == "POST":
        return _asked(request, version)
    return render(request, "indexes/contributions.html", contributions_page(request, version))


def _asked(request: HttpRequest, version: IndexVersion) -> HttpResponse:
    user = signed_in(request)
    require_maintain(user, version.library)
    uploading.refuse_if_stopped(request)
    form = MeasureForm(request.POST, request.FILES)
    error: HubError | None = None
    if form.is_valid():
        try:
            asked = services.request(
                version=version,
                file=uploading.place_of(form.cleaned_data["rows"]),
                name=form.called(),
                by=user,
                experts=form.names(),
            )
        except HubError as refused:
            error = refused
        else:
            return redirect(_page_of(asked))
    status = status_of(error) if error else status_of(Invalid())
    context = {**contributions_page(request, version), "form": form, "error": error}
    return render(request, "indexes/contributions.html", context, status=status)


@require_safe
@vary_on_headers(BY_SCRIPT)
def measuring(request: HttpRequest, slug: str, number: int, run: int) -> HttpResponse:
    """The progress of a run alone, fetched again while it is under way."""
    found = _run(slug, number, run)
    if not asked_by_script(request):
        return redirect(_page_of(found))
    return render(request, "indexes/measuring.html", progress(found))


@login_required
@require_POST
def act(request: HttpRequest, slug: str, number: int, run: int) -> HttpResponse:
    """Cancel a run, go on with it, measure the served version on its rows, or delete these."""
    found, user = _run(slug, number, run), signed_in(request)
    require_maintain(user, found.version.library)
    match request.POST.get("do"):
        case "cancel":
            services.cancel(ablation=found, by=user)
            messages.success(request, "Cancelled. What is measured stays.")
        case "forget":
            services.forget_rows(ablation=found)
            messages.success(request, "The rows are deleted; the figures stay.")
        case "go-on":
            found = services.repeat(ablation=found, version=found.version, by=user)
        case "renew":
            found = services.repeat(ablation=found, version=_served(found), by=user)
        case other:
            raise Invalid(f"do: found {str(other)[:40]!r}, expected cancel, forget, go-on or renew")
    return redirect(_page_of(found))


def _served(found: Ablation) -> IndexVersion:
    current = found.version.library.current
    if current is None:
        raise Conflict(f"{found.version.library.slug} serves no version")
    return current


def _run(slug: str, number: int, run: int) -> Ablation:
    found = queries.ablation(run)
    if (found.version.library.slug, found.version.number) != (slug, number):
        raise NotFound("There is no such measurement of this version.")
    return found


def _page_of(found: Ablation) -> str:
    version = found.version
    return reverse("contributions", args=[version.library.slug, version.number]) + f"?run={found.pk}"
