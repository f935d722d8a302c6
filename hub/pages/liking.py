"""Likes as pages show them: how many an adapter has, and whether the visitor's is one of them."""

from dataclasses import dataclass

from django.db.models import Count, Q

from hub.adapters.models import Adapter
from hub.library.permissions import Visitor


@dataclass(frozen=True)
class Likes:
    count: int
    mine: bool


def of_adapter(adapter: Adapter, visitor: Visitor) -> Likes:
    """One question to the database."""
    mine = Count("pk", filter=Q(user=visitor.pk)) if visitor.is_authenticated else Count("pk", filter=Q(pk=0))
    found = adapter.likes.aggregate(count=Count("pk"), mine=mine)
    return Likes(found["count"], bool(found["mine"]))
