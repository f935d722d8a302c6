"""Who may decide what a library serves."""

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet

from hub.accounts.models import User
from hub.errors import NotAllowed
from hub.library.models import Library

Visitor = User | AnonymousUser


def may_maintain(visitor: Visitor, library: Library) -> bool:
    """Its maintainer, and the hub's staff."""
    return visitor.is_authenticated and (visitor.is_staff or visitor.pk == library.maintainer_id)


def maintained(visitor: Visitor) -> QuerySet[Library]:
    """The libraries that this visitor decides about."""
    if not visitor.is_authenticated:
        return Library.objects.none()
    return Library.objects.all() if visitor.is_staff else Library.objects.filter(maintainer=visitor)


def require_maintain(visitor: Visitor, library: Library) -> None:
    """Raises NotAllowed."""
    if not may_maintain(visitor, library):
        raise NotAllowed(f"only a maintainer of {library.slug} may do this")
