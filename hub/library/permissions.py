"""Who may decide what a library serves."""

from django.contrib.auth.models import AnonymousUser

from hub.accounts.models import User
from hub.errors import NotAllowed
from hub.library.models import Library

Visitor = User | AnonymousUser


def may_maintain(visitor: Visitor, library: Library) -> bool:
    """Its maintainer, and the hub's staff."""
    return visitor.is_authenticated and (visitor.is_staff or visitor.pk == library.maintainer_id)


def require_maintain(visitor: Visitor, library: Library) -> None:
    """Raises NotAllowed."""
    if not may_maintain(visitor, library):
        raise NotAllowed(f"only a maintainer of {library.slug} may do this")
