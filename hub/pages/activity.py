"""What happened on this hub, or in one library, that everybody may know of: new experts, and new versions."""

import heapq
from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from hub.adapters.models import Release
from hub.indexes.models import Promotion
from hub.library.models import Library

NEWEST = 40


@dataclass(frozen=True)
class Happening:
    """One thing: when, what in a sentence, by whom, and the page that shows it."""

    at: datetime
    title: str
    about: str
    by: str
    path: str
    key: str


def newest(library: Library | None = None) -> list[Happening]:
    """The newest first, of both kinds together. Two questions to the database."""
    return heapq.nlargest(NEWEST, [*_experts(library), *_promotions(library)], key=lambda one: one.at)


def _experts(library: Library | None) -> list[Happening]:
    """Releases that became experts and are neither withdrawn nor held back, of public adapters."""
    ready = Release.objects.filter(
        status=Release.Status.READY,
        yanked_at=None,
        quarantined_at=None,
        adapter__private=False,
        adapter__deleted_at=None,
        **({} if library is None else {"adapter__library": library}),
    )
    rows = ready.select_related("adapter__owner", "adapter__library", "commit__author").defer(
        "statistics", "findings", "measurements", "fingerprint", "commit__card", "commit__config"
    )
    return [_expert(release) for release in rows.order_by("-settled_at")[:NEWEST]]


def _expert(release: Release) -> Happening:
    adapter = release.adapter
    return Happening(
        at=release.settled_at or release.created_at,
        title=f"{adapter.full_name}, release {release.number}, is an expert of {release.library.name}",
        about=release.commit.message,
        by=release.commit.author.username,
        path=reverse("release", args=[adapter.owner.username, adapter.name, release.oid]),
        key=f"release/{release.oid}",
    )


def _promotions(library: Library | None) -> list[Happening]:
    rows = Promotion.objects.filter(**({} if library is None else {"library": library}))
    rows = rows.select_related("library", "version", "by").order_by("-pk")
    return [
        Happening(
            at=one.at,
            title=f"{one.library.name} answers by version {one.version.number}, "
            f"with {one.version.expert_count} experts",
            about=one.reason,
            by=one.by.username if one.by else "the hub",
            path=reverse("versions", args=[one.library.slug]),
            key=f"promotion/{one.pk}",
        )
        for one in rows[:NEWEST]
    ]
