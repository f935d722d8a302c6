"""What the JSON API says of decisions."""

from datetime import datetime
from typing import Self

from ninja import Schema

from hub.decisions.models import Decision


class DecisionOut(Schema):
    """One entry of the audit trail. `by` is nothing where the hub or its operator decided."""

    id: int
    what: str
    adapter: str | None
    release: int | None
    before: str
    after: str
    by: str | None
    reason: str
    at: datetime

    @classmethod
    def of(cls, found: Decision) -> Self:
        return cls(
            id=found.pk,
            what=found.what,
            adapter=found.release.adapter.full_name if found.release else None,
            release=found.release.number if found.release else None,
            before=found.before,
            after=found.after,
            by=found.by.username if found.by else None,
            reason=found.reason,
            at=found.at,
        )


class DecisionsOut(Schema):
    """A page of them; `count` says how many there are."""

    items: list[DecisionOut]
    count: int
