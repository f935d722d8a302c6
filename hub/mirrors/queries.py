"""Looking at what came, or is to come, from other hubs."""

from django.db.models import Q, QuerySet

from hub.adapters.models import CommitFile, Release
from hub.errors import NotFound
from hub.library.models import Library
from hub.mirrors.models import Feed, Mirror, Origin


def mirrors(library: Library) -> QuerySet[Mirror]:
    """Of a library, by repository."""
    return Mirror.objects.filter(library=library).select_related("owner", "library")


def mirror(library: Library, number: int) -> Mirror:
    """Raises NotFound."""
    found = mirrors(library).filter(pk=number).first()
    if found is None:
        raise NotFound(f"{library.slug} has no mirror {number}")
    return found


def feeds(library: Library) -> QuerySet[Feed]:
    """Of a library, by where they come from."""
    return Feed.objects.filter(library=library).select_related("owner", "library")


def feed(library: Library, number: int) -> Feed:
    """Raises NotFound."""
    found = feeds(library).filter(pk=number).first()
    if found is None:
        raise NotFound(f"{library.slug} follows no list {number}")
    return found


def origin(release: Release) -> Origin | None:
    """Where it came from, if it came from another hub."""
    return Origin.objects.filter(release=release).select_related("mirror").first()


def licences(releases: QuerySet[Release]) -> dict[int, str]:
    """Under which licence those of them came that came from other hubs, by release."""
    came = Origin.objects.filter(release__in=releases.values("pk")).exclude(licence="")
    return dict(came.values_list("release", "licence"))


def with_weights(library: Library, *, sha256: str, git_oid: str) -> Release | None:
    """A public release of this library with these very weights: two hubs that mirror each other see their
    own again.
    """
    named = Q(blob_id=sha256) if sha256 else Q(blob__git_oid=git_oid)
    same = CommitFile.objects.filter(named, path="adapter_model.safetensors")
    return (
        Release.objects.filter(
            adapter__library=library, adapter__private=False, commit__in=same.values("commit")
        )
        .select_related("adapter__owner")
        .order_by("pk")
        .first()
    )
