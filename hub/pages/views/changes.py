"""How a release differs from another one of its adapter: the one before it, unless an address says which."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from hub.adapters.models import Adapter, Release
from hub.pages import changes, reading
from hub.pages.showing import may_download

MOST_OFFERED = 100


@require_safe
def release(request: HttpRequest, owner: str, name: str, oid: str) -> HttpResponse:
    adapter = reading.adapter_called(owner, name, request.user)
    after = reading.release_called(adapter, oid)
    before = _against(adapter, after, request.GET.get("against", ""))
    may_see = before is not None and all(may_download(request.user, one) for one in (before, after))
    others = reading.releases_of(adapter).exclude(pk=after.pk)[:MOST_OFFERED]
    return render(
        request,
        "adapters/changes.html",
        {
            "adapter": adapter,
            "release": after,
            "before": before,
            "others": others,
            "may_see": may_see,
            "changes": changes.between(before, after, with_files=may_see) if before else None,
        },
    )


def _against(adapter: Adapter, after: Release, oid: str) -> Release | None:
    """Raises NotFound where an address names a release that is not there."""
    if oid:
        return reading.release_called(adapter, oid)
    earlier = reading.releases_of(adapter).filter(number__lt=after.number).first()
    return reading.release_called(adapter, earlier.oid) if earlier else None
