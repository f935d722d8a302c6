"""The page of one file of a release: what it is, and what is in it for those who may have it."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from hub.adapters.models import CommitFile
from hub.errors import NoSuchFile
from hub.pages import contents, reading
from hub.pages.showing import may_download


@require_safe
def file(request: HttpRequest, owner: str, name: str, oid: str, path: str) -> HttpResponse:
    adapter = reading.adapter_called(owner, name, request.user)
    release = reading.release_called(adapter, oid)
    found: CommitFile | None = release.commit.files.select_related("blob").filter(path=path).first()
    if found is None:
        raise NoSuchFile(f"release {release.number} of {adapter.full_name} has no file {path}")
    may = may_download(request.user, release)
    return render(
        request,
        "adapters/file.html",
        {
            "adapter": adapter,
            "release": release,
            "file": found,
            "may_download": may,
            "contents": contents.contents_of(path, found.blob) if may else None,
        },
    )
