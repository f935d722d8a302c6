"""FEED: read a list of another hub, and mirror the repositories on it that are not mirrored yet."""

from collections.abc import Iterable, Iterator
from typing import Any

from hub.faults import reach
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.mirrors import services
from hub.mirrors.models import Feed
from hub.outbound import Refused, Unreachable
from workers.importing import require_allowed
from workers.outbound import Outside

MOST_PAGES = 100
A_PAGE = 100
LONGEST_LOOK = 500.0  # seconds


def read(claim: Claim) -> None:
    reach("feed.claimed")
    feed = Feed.objects.select_related("library", "owner").filter(pk=claim.ids["feed_id"]).first()
    if feed is None:
        jobs.log(claim, "nothing to do: this list is followed no longer")
        return
    try:
        require_allowed(feed.endpoint)
        with Outside(feed.endpoint, seconds=LONGEST_LOOK) as outside:
            params = {"filter": feed.tag, "limit": str(A_PAGE)}
            found = sorted(set(repositories(outside.pages("/api/models", params, most=MOST_PAGES))))
    except Refused as error:
        services.record_look(claim, feed.pk, count=0, note=str(error))
        jobs.log(claim, f"nothing was read: {error}")
        return
    except Unreachable as error:
        services.record_look(claim, feed.pk, count=0, note=f"{error}; it is tried again")
        raise
    new = services.record_list(claim, feed, found)
    jobs.log(claim, f"{len(found)} repositories are tagged {feed.tag} at {feed.endpoint}, {new} of them new")


def repositories(pages: Iterable[Any]) -> Iterator[str]:
    """The ids on some pages of a list; Refused if these are no pages of a list."""
    for page in pages:
        if not isinstance(page, list):
            raise Refused("its list of models is not a list")
        yield from (
            entry["id"] for entry in page if isinstance(entry, dict) and isinstance(entry.get("id"), str)
        )
