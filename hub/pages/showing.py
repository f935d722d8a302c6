"""What the templates of adapters and releases are given."""

from typing import Any

from django.conf import settings
from django.core.paginator import Paginator
from django.http import HttpRequest

from hub.adapters import permissions
from hub.adapters.models import Access, Adapter, Release
from hub.clusters import queries as clusters
from hub.http import own_address
from hub.library.models import Library
from hub.library.permissions import Visitor
from hub.mirrors import queries as mirrors
from hub.pages import exporting, liking, lineage, reading, reliability, snippets, using, worth
from hub.pages.forms import AskForm, GatingForm, InviteForm, ReasonForm
from hub.pages.pipeline import course_of
from hub.search.models import Entry

RELEASES = 20
NEIGHBOURS = 5
OTHERS = 50


def adapter_page(request: HttpRequest, adapter: Adapter) -> dict[str, Any]:
    """The adapter with its newest release in full."""
    newest = reading.newest_release(adapter)
    page = Paginator(reading.releases_of(adapter), RELEASES).get_page(request.GET.get("page"))
    context = (
        release_page(request, newest)
        if newest
        else {"adapter": adapter, "likes": liking.of_adapter(adapter, request.user)}
    )
    may_write = permissions.may_write(request.user, adapter)
    return {
        **context,
        "page": page,
        "may_write": may_write,
        "access": access_of(request.user, adapter),
        "gating_form": GatingForm(initial={"gating": adapter.gating}, auto_id="gate_%s"),
        "invite_form": InviteForm(auto_id="invite_%s"),
        "ask_form": AskForm(auto_id="ask_%s"),
    }


def access_of(visitor: Visitor, adapter: Adapter) -> dict[str, Any]:
    """Whether this visitor may have the files, what became of their wish, and for its owner everybody's."""
    if not adapter.gating and not adapter.private:
        return {"given": True}
    if permissions.may_write(visitor, adapter):
        known = list(adapter.accesses.select_related("user"))
        waiting = [one for one in known if one.state == Access.State.PENDING]
        return {"given": True, "waiting": waiting, "decided": [one for one in known if one not in waiting]}
    mine = adapter.accesses.filter(user=visitor.pk).first() if visitor.is_authenticated else None
    return {"given": permissions.may_have_files(visitor, adapter), "mine": mine}


def release_page(request: HttpRequest, release: Release) -> dict[str, Any]:
    adapter = release.adapter
    files = reading.files_of(release)
    return {
        "adapter": adapter,
        "about": about(adapter),
        "release": release,
        "course": course_of(release),
        "report": reading.report_of(release),
        "expert": reading.expert_of(release),
        "files": files,
        "size": sum(file.blob.size for file in files),
        "card": reading.card_of(files),
        "may_write": permissions.may_write(request.user, adapter),
        "may_maintain": permissions.may_maintain(request.user, adapter),
        "may_download": may_download(request.user, release),
        "likes": liking.of_adapter(adapter, request.user),
        "sees_log": sees_log(request.user, adapter),
        "hears": hears(request.user, release),
        "reason_form": ReasonForm(auto_id=False),
        "alike": alike(release),
        "use": using.of_adapter(adapter),
        "worth": worth.of_release(release),
        "calibration": reliability.of_release(release),
        "lineage": lineage.of_release(release, request.user),
        "origin": mirrors.origin(release),
        "exports": exporting.of_release(release, request.user),
        "shares": bool(release.samples_id and clusters.sharing([release])),
        "snippets": _snippets(request, release, paths=[file.path for file in files]),
    }


def about(adapter: Adapter) -> str:
    """An adapter in a sentence, for other sites' links to it: its card's first one where there is one."""
    entry = Entry.objects.filter(pk=adapter.pk).only("about").first()
    said = entry.about if entry else ""
    return said or f"A LoRA adapter by {adapter.owner.username}."


def may_download(visitor: Visitor, release: Release) -> bool:
    """Whether this visitor may have the files: let in, and in quarantine only whoever decides about it."""
    adapter = release.adapter
    decides = permissions.may_write(visitor, adapter) or permissions.may_maintain(visitor, adapter)
    return permissions.may_have_files(visitor, adapter) and (release.quarantined_at is None or decides)


def hears(visitor: Visitor, release: Release) -> bool:
    """Whether the served model answers this visitor with a private release, as it answers nobody else."""
    stands = release.status == Release.Status.READY and not (release.yanked_at or release.quarantined_at)
    return release.adapter.private and stands and permissions.may_hear(visitor, release.adapter)


def alike(release: Release) -> dict[str, Any] | None:
    """Its nearest neighbours and the others of its cluster, once it was compared with the other experts."""
    placement = clusters.placement_of(release)
    if placement is None:
        return None
    return {
        "neighbours": clusters.neighbours(placement)[:NEIGHBOURS],
        "cluster": placement.cluster,
        "clustering": placement.clustering,
        "others": clusters.companions(placement, OTHERS),
    }


def sees_log(visitor: Visitor, adapter: Adapter) -> bool:
    """What workers wrote down is for those who can act on it."""
    return permissions.may_write(visitor, adapter) or permissions.may_maintain(visitor, adapter)


def _snippets(request: HttpRequest, release: Release, *, paths: list[str]) -> dict[str, str]:
    adapter, hub, library = release.adapter, own_address(request), release.library
    summary = release.statistics.get("summary", {})
    closed = bool(adapter.private or adapter.gating)
    return {
        "private": snippets.ask_with_private(hub, library.slug, adapter.full_name),
        "hf": snippets.fetch_with_hf(hub, adapter.full_name, release.oid, needs_token=closed),
        "fletch": snippets.fetch_by_command(hub, adapter.full_name, release.oid),
        "curl": snippets.fetch_files(
            hub, adapter.full_name, oid=release.oid, paths=paths, needs_token=closed
        ),
        "peft": snippets.load_with_peft(library, adapter.full_name, release.oid),
        "vllm": snippets.serve_with_vllm(
            library, adapter.full_name, release.oid, rank=summary.get("rank_largest", 0)
        )
        if summary.get("expert_kind", "LoRA") == "LoRA"
        else "",
        "served": snippets.ask_served_model(served(request, library), f"{library.slug}/{adapter.full_name}"),
        "ask": snippets.ask_alone(hub, library.slug, adapter.full_name),
    }


def served(request: HttpRequest, library: Library) -> snippets.Served:
    """Where a library's models answer, and whether with a pass alone."""
    home = own_address(request)
    hub = home if settings.SERVING_CALLERS == "passes" else None
    return snippets.Served(settings.SERVING_URL, library.slug, hub, home)
