"""Guest lists: the private experts that one person may add to a library's model, for some minutes.

They are in no index version. What a person gets is a signed list of them as a manifest would name them, and
a serving process adds them to what it serves for whoever brings the list
(docs/decisions/0023-private-experts.md).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from hub import signing
from hub.accounts.models import User
from hub.adapters import gates, permissions
from hub.adapters.models import Release
from hub.errors import Conflict, Invalid, NotFound
from hub.indexes import queries
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from hub.library.models import Library

FORMAT = 1
LIFETIME = timedelta(minutes=10)
MOST = 12  # a list travels in a header, for which proxies have room for 8 KiB, and serving holds its experts


@dataclass(frozen=True)
class GuestList:
    """Who may join, and the list that a serving process believes; no token where nobody would join."""

    releases: Sequence[Release]
    expires_at: datetime
    token: str | None


def guest_list(*, user: User, library: Library, names: Sequence[str] = ()) -> GuestList:
    """The private experts of this library that this person may hear, or those of them that are named.

    Raises Invalid where there are too many for one list, NotFound, and Conflict while the serving processes
    cannot know this hub's key yet.
    """
    found = _chosen(user, library, names)
    expires_at = timezone.now() + LIFETIME
    if not found:
        return GuestList((), expires_at, None)
    require_known_key(library)
    statement = {
        "format": FORMAT,
        "library": library.slug,
        "expires": int(expires_at.timestamp()),
        "experts": [_entry(release) for release in found],
    }
    content = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return GuestList(found, expires_at, signing.signed(content.encode()))


def require_known_key(library: Library) -> None:
    """What a hub signs with a new secret key waits for a worker to say so in the index store.

    Raises Conflict, and asks a worker for it.
    """
    if library.guest_key == signing.public_key().hex():
        return
    with transaction.atomic():
        jobs.enqueue(JobKind.PROMOTE, library_id=library.pk)
    raise Conflict(
        f"the serving processes of {library.slug} do not know this hub's key yet; a worker is about to tell "
        "them, so ask again in a moment"
    )


def guests(user: User, library: Library) -> QuerySet[Release]:
    """Of each private adapter that this person may hear: the newest release that is ready and not held back,
    with what it is recognised by, with its gates where it has any.
    """
    heard = queries.newest_eligible(library, adapter__in=permissions.heard_adapters(user))
    chosen = gates.preferred(library)
    return heard.annotate(
        known_by=Coalesce(Subquery(chosen.values("vectors_digest")[:1]), "vectors_digest"),
        known_by_size=Coalesce(Subquery(chosen.values("vectors_size")[:1]), "vectors_size"),
    )


def _chosen(user: User, library: Library, names: Sequence[str]) -> list[Release]:
    rows = guests(user, library)
    if names:
        rows = rows.filter(_called(names))
    rows = rows.select_related("adapter__owner", "commit").defer("findings", "statistics", "fingerprint")
    found = sorted(rows[: MOST + 1], key=lambda release: release.adapter.full_name)
    unknown = sorted(set(names) - {release.adapter.full_name for release in found})
    if unknown:
        raise NotFound(f"{library.slug} has no private expert {', '.join(unknown)} that you may ask with now")
    if len(found) > MOST:
        raise Invalid(
            f"you may ask with more than {MOST} private experts of {library.slug}, and one list holds "
            f"{MOST}: name those that you want"
        )
    return found


def _called(names: Sequence[str]) -> Q:
    wanted = Q(pk__in=())
    for full_name in names:
        owner, _, name = full_name.partition("/")
        wanted |= Q(adapter__owner__username=owner, adapter__name=name)
    return wanted


def _entry(release: Any) -> dict[str, object]:
    """As an index manifest names a member: the fields of `routing.index.ExpertEntry`."""
    introduced = {"profile": release.profile_digest, "profile_size": release.profile_size}
    return {
        "adapter": release.adapter.full_name,
        "release": release.oid,
        "vectors": release.known_by,
        "factors": release.factors_digest,
        "vectors_size": release.known_by_size,
        "factors_size": release.factors_size,
        **(introduced if release.profile_digest else {}),
    }
