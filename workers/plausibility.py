"""Would a newcomer's vectors take implausibly much of neutral text from those who are there?"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from hub.adapters.models import Gates, Release
from hub.indexes import queries
from hub.library.models import Library
from routing.digests import digest_of
from routing.finding import Finding
from routing.index import ExpertEntry
from routing.prototypes import RoutingVector
from routing.shares import FEWEST_EXPERTS, SEQUENCES, doubts_about, neutral_shares
from workers.indexing import entry
from workers.places import index_store, loaded_base

MOST_COMPARED = 256  # of a larger library, so many: whoever takes from all of them takes from these


def doubts(release: Release, vectors: Mapping[str, RoutingVector]) -> list[Finding]:
    """Route the library's neutral text with the next version as it would be with these vectors of `release`.

    Nothing is asked of a library that is too small to have shares, nor of one without neutral text.
    """
    library, newcomer = release.library, release.adapter.full_name
    ref = index_store().library_ref(library.slug)
    others = next_members(library)
    if ref is None or ref.calibration is None or len(others | {newcomer: None}) < FEWEST_EXPERTS:
        return []
    there = {name: known_vectors(member) for name, member in compared(others).items()}
    text = index_store().read_neutral(ref.calibration)[:SEQUENCES]
    base = loaded_base(library)
    before = neutral_shares(base, there, text)
    after = neutral_shares(base, {**there, newcomer: vectors}, text)
    return list(doubts_about(newcomer, before, after))


def next_members(library: Library) -> dict[str, ExpertEntry]:
    """Who would be in the next version, each recognised as the library prefers."""
    wanted = {member.release_id: member.gates_id for member in queries.desired_members(library)}
    releases = Release.objects.filter(pk__in=wanted).select_related("adapter__owner", "commit")
    gates = Gates.objects.filter(pk__in=[pk for pk in wanted.values() if pk]).in_bulk()
    found = {}
    for release in releases.defer("statistics", "fingerprint", "findings", "measurements"):
        own = gates.get(wanted[release.pk] or 0)
        plain = entry(release)
        found[plain.adapter] = plain if own is None else replace(plain, vectors=own.vectors_digest)
    return found


def compared(others: Mapping[str, ExpertEntry]) -> dict[str, ExpertEntry]:
    """All of them, or a choice that the names alone make, so that it is the same every time."""
    chosen = sorted(others, key=lambda name: digest_of(name.encode()))[:MOST_COMPARED]
    return {name: others[name] for name in chosen}


@lru_cache(maxsize=MOST_COMPARED)
def known_vectors(member: ExpertEntry) -> Mapping[str, RoutingVector]:
    """Read once per process: the next newcomer meets the same members."""
    return index_store().read_vectors(member)
