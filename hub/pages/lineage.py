"""Where an adapter comes from and what came of it: its base, what its card says it was made from, who has the
same weights, and who was made from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from hub.adapters.models import Adapter, Release
from hub.adapters.permissions import visible_adapters
from hub.downloads.counting import WEIGHTS
from hub.library.permissions import Visitor

MOST = 10


@dataclass(frozen=True)
class Lineage:
    """Adapters of this hub that this visitor may know of; at most ten of a kind."""

    parents: Sequence[Adapter]
    same_weights: Sequence[Adapter]
    children: Sequence[Adapter]


def of_release(release: Release, visitor: Visitor) -> Lineage:
    """Three questions to the database at most."""
    adapter = release.adapter
    others = visible_adapters(visitor).select_related("owner").exclude(pk=adapter.pk).order_by("-pk")
    named = [word for word in _words(release.commit.card.get("base_model")) if word.count("/") == 1]
    digests = [file.blob_id for file in release.commit.files.filter(path=WEIGHTS)]
    return Lineage(
        parents=_called(others, named),
        same_weights=list(
            others.filter(commits__files__path=WEIGHTS, commits__files__blob__in=digests).distinct()[:MOST]
        ),
        children=list(others.filter(tags__tag=f"base_model:{adapter.full_name}")[:MOST]),
    )


def _called(adapters: QuerySet[Adapter], names: Sequence[str]) -> list[Adapter]:
    """A card may name anything; here are those of the names that adapters of this hub have."""
    wanted = Q(pk__in=[])
    for owner, _, name in (full.partition("/") for full in names):
        wanted |= Q(owner__username=owner.lower(), name=name)
    return list(adapters.filter(wanted)[:MOST]) if names else []


def _words(said: object) -> list[str]:
    """A card may name one base or a list of them."""
    found = said if isinstance(said, list) else [said]
    return [word for word in found if isinstance(word, str)][:MOST]
