"""Who may do what with an adapter. Pages, API and downloads all ask here; whatever is not allowed is
refused.
"""

from django.db.models import Q, QuerySet

from hub.adapters.models import Adapter, Commit
from hub.errors import Disabled, NoSuchAdapter, NotAllowed
from hub.library import permissions as library_permissions
from hub.library.permissions import Visitor


def visible_adapters(visitor: Visitor) -> QuerySet[Adapter]:
    """The adapters that this visitor may know of."""
    adapters = Adapter.objects.filter(deleted_at=None)
    if not visitor.is_authenticated:
        return adapters.filter(private=False)
    if visitor.is_staff:
        return adapters
    return adapters.filter(Q(private=False) | Q(owner=visitor))


def require_read(visitor: Visitor, adapter: Adapter) -> None:
    """Raises NotFound: that a private adapter exists is private too."""
    if adapter.private and not may_write(visitor, adapter) and not visitor.is_staff:
        raise NoSuchAdapter(f"there is no adapter {adapter.full_name}")


def require_files(visitor: Visitor, commit: Commit) -> None:
    """May these files be downloaded? Raises NotFound, Disabled."""
    require_read(visitor, commit.adapter)
    if (
        not is_held_back(commit)
        or may_write(visitor, commit.adapter)
        or may_maintain(visitor, commit.adapter)
    ):
        return
    raise Disabled


def is_held_back(commit: Commit) -> bool:
    """The adapter in this tree is in quarantine, whatever else was changed beside it."""
    return commit.examined_as is not None and commit.examined_as.quarantined_at is not None


def require_write(visitor: Visitor, adapter: Adapter) -> None:
    """Raises NotFound, NotAllowed."""
    require_read(visitor, adapter)
    if not may_write(visitor, adapter):
        raise NotAllowed(
            f"{adapter.full_name} belongs to {adapter.owner.username}; only its owner may change it"
        )


def require_maintain(visitor: Visitor, adapter: Adapter) -> None:
    """Raises NotFound, NotAllowed."""
    require_read(visitor, adapter)
    if not may_maintain(visitor, adapter):
        raise NotAllowed(f"only a maintainer of {adapter.library or 'this hub'} may do this")


def may_write(visitor: Visitor, adapter: Adapter) -> bool:
    """The owner uploads and yanks."""
    return visitor.is_authenticated and visitor.pk == adapter.owner_id


def may_maintain(visitor: Visitor, adapter: Adapter) -> bool:
    """The library's maintainer and the hub's staff quarantine and restore."""
    if adapter.library is None:
        return visitor.is_authenticated and visitor.is_staff
    return library_permissions.may_maintain(visitor, adapter.library)
