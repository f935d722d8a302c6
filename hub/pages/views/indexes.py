"""The pages of what goes out: versions of the routing index, promotion, composed checkpoints."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from hub.errors import HubError, Invalid, NotFound
from hub.http import status_of
from hub.indexes import checkpoints as making
from hub.indexes import queries, services
from hub.indexes.models import CheckpointFile, ComposedCheckpoint
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.library.permissions import may_maintain, require_maintain
from hub.pages import exporting, snippets, timeline
from hub.pages.builder import Builder, builder, composed_licences
from hub.pages.forms import PromotionForm
from hub.pages.listing import library_called
from hub.pages.parts import BY_SCRIPT, asked_by_script
from hub.pages.visitors import signed_in

VERSIONS = 20
CHECKPOINTS = 20


@require_safe
def versions(request: HttpRequest, slug: str) -> HttpResponse:
    library = library_called(slug)
    page = Paginator(
        queries.published(library)
        .select_related("prompt_classifier")
        .defer("prompt_classifier__reliability")
        .order_by("-number"),
        VERSIONS,
    ).get_page(request.GET.get("page"))
    entries = timeline.entries(library, list(page.object_list), request.user)
    context = {
        "library": library,
        "page": page,
        "entries": entries,
        "measured": any(entry.evaluations for entry in entries),
        "may_maintain": may_maintain(request.user, library),
    }
    return render(request, "indexes/versions.html", context)


@login_required
@require_POST
def promote(request: HttpRequest, slug: str) -> HttpResponse:
    library = library_called(slug)
    require_maintain(request.user, library)
    form = PromotionForm(request.POST)
    if not form.is_valid():
        raise Invalid("Say which version, and a reason that others will understand later.")
    services.promote(
        library=library,
        number=form.cleaned_data["number"],
        by=signed_in(request),
        reason=form.cleaned_data["reason"],
    )
    messages.success(request, f"Version {form.cleaned_data['number']} is the served one now.")
    return redirect("versions", slug)


@require_safe
def checkpoints(request: HttpRequest, slug: str) -> HttpResponse:
    """What was composed so far, the newest first."""
    library = library_called(slug)
    listed = ComposedCheckpoint.objects.filter(library=library).select_related("version", "requested_by")
    page = Paginator(listed, CHECKPOINTS).get_page(request.GET.get("page"))
    return render(request, "indexes/checkpoints.html", {"library": library, "page": page})


@require_http_methods(["GET", "HEAD", "POST"])
def build(request: HttpRequest, slug: str) -> HttpResponse:
    """The builder: a GET says what would be made, a POST asks for it."""
    library = library_called(slug)
    found = builder(library, request.POST if request.method == "POST" else request.GET)
    error = None
    if request.method == "POST" and found is not None and found.form.is_valid():
        try:
            return redirect("checkpoint", _request(request, found).pk)
        except HubError as refused:
            error = refused
    status = status_of(error) if error else 200
    context = {"library": library, "builder": found, "lifetime": settings.CHECKPOINT_LIFETIME}
    return render(request, "indexes/builder.html", context, status=status)


def _request(request: HttpRequest, found: Builder) -> ComposedCheckpoint:
    return making.request_checkpoint(
        version=found.version,
        kind=found.form.cleaned_data["kind"],
        requested_by=signed_in(request),
        options=found.form.options(),
    )


@require_safe
def checkpoint(request: HttpRequest, checkpoint_id: int) -> HttpResponse:
    found = _checkpoint(checkpoint_id)
    url = request.build_absolute_uri(f"/checkpoints/{found.pk}/download")
    context = {
        "checkpoint": found,
        "library": found.library,
        "job": _job(found),
        "sees_error": may_maintain(request.user, found.library),
        "load": snippets.load_checkpoint(
            found.kind,
            url=url,
            folder=found.folder,
            library=found.library,
            packed="bits" in found.options,
        ),
        "exports": exporting.of_checkpoint(found, request.user),
        "lifetime": settings.CHECKPOINT_LIFETIME,
        "licences": composed_licences(found),
    }
    return render(request, "indexes/checkpoint.html", context)


@require_safe
@vary_on_headers(BY_SCRIPT)
def composing(request: HttpRequest, checkpoint_id: int) -> HttpResponse:
    """The progress of a checkpoint alone, fetched again while it is being made."""
    found = _checkpoint(checkpoint_id)
    if not asked_by_script(request):
        return redirect("checkpoint", checkpoint_id)
    return render(request, "indexes/composing.html", {"checkpoint": found, "job": _job(found)})


def _checkpoint(checkpoint_id: int) -> ComposedCheckpoint:
    files = Prefetch("files", CheckpointFile.objects.select_related("blob"))
    found = (
        ComposedCheckpoint.objects.select_related("library", "version__library", "requested_by")
        .prefetch_related(files)
        .filter(pk=checkpoint_id)
        .first()
    )
    if found is None:
        raise NotFound(
            f"There is no composed checkpoint {checkpoint_id} here; they are removed when they expire."
        )
    return found


def _job(found: ComposedCheckpoint) -> Job | None:
    key = jobs.key_of(JobKind.COMPOSE, {"checkpoint_id": found.pk})
    return Job.objects.filter(key=key).order_by("-pk").first()
