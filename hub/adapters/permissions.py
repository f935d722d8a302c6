"""Who may do what with an adapter. Pages, API and downloads all ask here; whatever is not allowed is
refused.
"""

from django.db.models import Q, QuerySet

from hub.adapters.models import Adapter, Release
from hub.errors import Disabled, NotAllowed, NotFound
from hub.library import permissions as library_permissions
from hub.library.permissions import Visitor


def visible_adapters(visitor: Visitor) -> QuerySet[Adapter]:
    """The adapters that this visitor may know of."""
    if not visitor.is_authenticated:
        return Adapter.objects.filter(private=False)
    if visitor.is_staff:
        return Adapter.objects.all()
    return Adapter.objects.filter(Q(private=False) | Q(owner=visitor))


def require_read(visitor: Visitor, adapter: Adapter) -> None:
    """Raises NotFound: that a private adapter exists is private too."""
    if adapter.private and not may_write(visitor, adapter) and not visitor.is_staff:
        raise NotFound(f"there is no adapter {adapter.full_name}")


def require_files(visitor: Visitor, release: Release) -> None:
    """May these files be downloaded? Raises NotFound, Disabled."""
    require_read(visitor, release.adapter)
    if (
        release.quarantined_at is None
        or may_write(visitor, release.adapter)
        or may_maintain(visitor, release.adapter)
    ):
        return
    raise Disabled


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
        raise NotAllowed(f"only a maintainer of {adapter.library.slug} may do this")


def may_write(visitor: Visitor, adapter: Adapter) -> bool:
    """The owner uploads and yanks."""
    return visitor.is_authenticated and visitor.pk == adapter.owner_id


def may_maintain(visitor: Visitor, adapter: Adapter) -> bool:
    """The library's maintainer and the hub's staff quarantine and restore."""
    return library_permissions.may_maintain(visitor, adapter.library)
