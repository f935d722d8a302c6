"""PROMOTE: make the index store say which version is served, and which may not be any more.

The hub's database is what it should say.
"""

from collections.abc import Sequence

from hub import signing
from hub.faults import reach
from hub.indexes import queries
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.library import services as libraries
from hub.library.models import Library
from routing.held_back import HeldBack
from workers.places import index_store

BASE_ALONE = 0  # the version without experts: it is served until the first one is promoted


def promote(claim: Claim) -> None:
    reach("promote.claimed")
    number = serve_what_the_hub_says(claim.ids["library_id"])
    reach("promote.set")
    jobs.log(claim, f"version {number} is the one to serve")


def serve_what_the_hub_says(library_id: int) -> int:
    """Set the store's current version, again if the hub changed its mind meanwhile. Returns the number."""
    _say_guest_key(library_id)
    while True:
        slug, number, held_back = _wanted(library_id)
        index_store().set_held_back(slug, held_back)
        index_store().set_current(slug, number)
        if _wanted(library_id) == (slug, number, held_back):
            return number


def _say_guest_key(library_id: int) -> None:
    """Which lists of private experts a serving process may believe; a new secret key makes another one."""
    slug, key = Library.objects.values_list("slug", flat=True).get(pk=library_id), signing.public_key()
    index_store().set_guest_key(slug, key)
    libraries.record_guest_key(library_id, key)


def _wanted(library_id: int) -> tuple[str, int, Sequence[HeldBack]]:
    library = Library.objects.select_related("current").get(pk=library_id)
    number = library.current.number if library.current else BASE_ALONE
    return library.slug, number, [HeldBack(*span) for span in queries.held_back_spans(library)]
