"""The page on which adapters are uploaded: one form, which a script leads through step by step."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render, resolve_url
from django.views.decorators.http import require_http_methods, require_POST

from hub.accounts import roles
from hub.adapters import services
from hub.adapters.cards import LARGEST_CARD, README
from hub.adapters.models import Release
from hub.adapters.staging import StagedFile
from hub.adapters.uploading import refuse_if_stopped, staged_files
from hub.blobs import services as blobs
from hub.errors import HubError, Invalid, TooLarge
from hub.http import status_of
from hub.library import queries
from hub.pages import card_editor
from hub.pages.parts import asked_by_script
from hub.pages.upload_form import UploadForm, offered, said_of, upload_page
from hub.pages.visitors import signed_in


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: HttpRequest, slug: str = "") -> HttpResponse:
    """For one library or, without `slug`, for the one that is chosen in the form; no question where only one
    is ready.
    """
    ready = offered(slug)
    if not slug and len(ready) == 1 and request.method != "POST":
        asked = f"?{request.GET.urlencode()}" if request.GET else ""
        return redirect(resolve_url("upload", slug=ready[0].slug) + asked)
    if request.method == "POST":
        said = request.POST.copy()
        said.setdefault("library", slug)
        return _received(request, UploadForm(said, libraries=ready))
    owner = roles.namespace(signed_in(request), request.GET.get("owner", ""))
    given = {"library": slug, "name": request.GET.get("name", ""), "owner": owner.username}
    form = UploadForm(initial=given, libraries=ready)
    return render(request, "adapters/upload.html", upload_page(request, form, ready))


@login_required
@require_POST
def card(request: HttpRequest) -> HttpResponse:
    """How a card will look, and what it says in its fields. Nothing is kept."""
    text = request.POST.get("card", "").replace("\r\n", "\n")
    if len(text.encode(errors="replace")) > LARGEST_CARD:
        raise TooLarge(f"the card has more than {LARGEST_CARD // 1024} KiB")
    typed = {name: request.POST[name] for name in card_editor.FIELDS if name in request.POST}
    return JsonResponse(said_of(card_editor.draft(text, typed)))


def _received(request: HttpRequest, form: UploadForm) -> HttpResponse:
    try:
        refuse_if_stopped(request)
        if not form.is_valid():
            raise Invalid("Please mend what is marked below.")
        made = _release(request, form)
    except HubError as error:
        page = upload_page(request, form, offered(), error)
        return render(request, "adapters/upload.html", page, status=status_of(error))
    return created(request, made)


def _release(request: HttpRequest, form: UploadForm) -> Release:
    said, written, who = form.cleaned_data, form.written_card(), signed_in(request)
    owner = roles.namespace(who, said["owner"])
    with staged_files(request) as staged, blobs.scratch_file() as place:
        files = staged.files
        if written:
            place.write_text(written, encoding="utf-8", errors="replace", newline="")
            files = [file for file in files if file.path.lower() != README]
            files.append(StagedFile("README.md", place))
        return services.receive_upload(
            owner=owner,
            by=who,
            library=queries.library(said["library"]),
            name=said["name"],
            message=said["message"],
            private=said["private"],
            files=files,
            samples=staged.samples,
        )


def created(request: HttpRequest, made: Release) -> HttpResponse:
    """A browser is led to the release; our script is told where it is."""
    answer = redirect("release", made.adapter.owner.username, made.adapter.name, made.oid)
    if asked_by_script(request):
        return HttpResponse(status=201, headers={"Location": answer["Location"]})
    return answer
