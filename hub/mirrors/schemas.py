"""What the JSON API says of mirrors."""

from datetime import datetime
from typing import Self

from ninja import Schema

from hub.mirrors.models import Feed, Mirror


class MirrorIn(Schema):
    """A repository of another hub. Without an endpoint: the first from which this hub imports."""

    repo: str
    endpoint: str = ""
    revision: str = "main"
    name: str = ""
    follow: bool = False


class FollowIn(Schema):
    """Whether to look for new revisions."""

    follow: bool


class MirrorOut(Schema):
    """A mirrored repository, the newest commit that was looked at, and why that brought nothing, if so."""

    id: int
    endpoint: str
    repo: str
    revision: str
    adapter: str
    follow: bool
    commit: str
    looked_at: datetime | None
    note: str

    @classmethod
    def of(cls, mirror: Mirror) -> Self:
        return cls(
            id=mirror.pk,
            endpoint=mirror.endpoint,
            repo=mirror.repo,
            revision=mirror.revision,
            adapter=f"{mirror.owner.username}/{mirror.name}",
            follow=mirror.follow,
            commit=mirror.commit,
            looked_at=mirror.looked_at,
            note=mirror.note,
        )


class FeedIn(Schema):
    """What repositories are tagged with at another hub, several tags with commas."""

    tag: str
    endpoint: str = ""


class FeedOut(Schema):
    """A followed list: how many repositories the newest look saw, and what could not be mirrored."""

    id: int
    endpoint: str
    tag: str
    owner: str
    count: int
    looked_at: datetime | None
    note: str

    @classmethod
    def of(cls, feed: Feed) -> Self:
        return cls(
            id=feed.pk,
            endpoint=feed.endpoint,
            tag=feed.tag,
            owner=feed.owner.username,
            count=feed.count,
            looked_at=feed.looked_at,
            note=feed.note,
        )
