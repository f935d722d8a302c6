"""Who may do what with an adapter. Pages, API and downloads all ask here; whatever is not allowed is
refused.
"""

from django.db.models import Exists, OuterRef, Q, QuerySet

from hub.accounts import roles
from hub.accounts.models import User
from hub.accounts.roles import Role
from hub.adapters.models import Access, Adapter, Commit
from hub.errors import Disabled, Gated, NoSuchAdapter, NotAllowed
from hub.library import permissions as library_permissions
from hub.library.permissions import Visitor

MOST_TOLD = 20


def visible_adapters(visitor: Visitor) -> QuerySet[Adapter]:
    """The adapters that this visitor may know of."""
    adapters = Adapter.objects.filter(deleted_at=None)
    if not visitor.is_authenticated:
        return adapters.filter(private=False)
    if visitor.is_staff:
        return adapters
    return adapters.filter(Q(private=False) | _theirs(visitor) | Exists(_let_in(visitor)))


def readable_adapters(visitor: Visitor) -> QuerySet[Adapter]:
    """Of those the ones whose files this visitor may have."""
    open_to_all = Q(gating=Adapter.Gating.OPEN)
    if not visitor.is_authenticated:
        return visible_adapters(visitor).filter(open_to_all)
    return visible_adapters(visitor).filter(open_to_all | _theirs(visitor) | Exists(_let_in(visitor)))


def heard_adapters(visitor: User) -> QuerySet[Adapter]:
    """The private adapters that this person may ask a model with: their own, those of their organisations and
    those of invitations.
    """
    private = Adapter.objects.filter(deleted_at=None, private=True)
    return private.filter(_theirs(visitor) | Exists(_let_in(visitor)))


def may_hear(visitor: Visitor, adapter: Adapter) -> bool:
    """Of a private adapter: may this visitor ask a model with it?"""
    return is_theirs(visitor, adapter) or is_let_in(visitor, adapter)


def is_theirs(visitor: Visitor, adapter: Adapter) -> bool:
    """Their own, or of an organisation that they belong to."""
    return roles.holds(visitor, adapter.owner, Role.MEMBER)


def _theirs(visitor: User) -> Q:
    return Q(owner=visitor) | Q(owner__in=roles.memberships(visitor).values("organisation"))


def _let_in(visitor: Visitor) -> QuerySet[Access]:
    return Access.objects.filter(adapter=OuterRef("pk"), user=visitor.pk, state=Access.State.ACCEPTED)


def is_let_in(visitor: Visitor, adapter: Adapter) -> bool:
    """Its owner invited this visitor, or said yes."""
    return (
        visitor.is_authenticated
        and adapter.accesses.filter(user=visitor.pk, state=Access.State.ACCEPTED).exists()
    )


def require_read(visitor: Visitor, adapter: Adapter) -> None:
    """Raises NotFound: that a private adapter exists is private too."""
    if not adapter.private or is_theirs(visitor, adapter) or visitor.is_staff or is_let_in(visitor, adapter):
        return
    raise NoSuchAdapter(f"there is no adapter {adapter.full_name}")


def require_files(visitor: Visitor, commit: Commit) -> None:
    """May these files be downloaded, whoever was let in? Raises NotFound, Disabled."""
    require_read(visitor, commit.adapter)
    if (
        not is_held_back(commit)
        or is_theirs(visitor, commit.adapter)
        or may_maintain(visitor, commit.adapter)
    ):
        return
    raise Disabled


def may_have_files(visitor: Visitor, adapter: Adapter) -> bool:
    """Is it open to everybody, or at least to this visitor?"""
    return (
        not adapter.gating
        or is_theirs(visitor, adapter)
        or may_maintain(visitor, adapter)
        or is_let_in(visitor, adapter)
    )


def require_let_in(visitor: Visitor, adapter: Adapter) -> None:
    """Raises Gated."""
    if not may_have_files(visitor, adapter):
        raise Gated(
            f"Access to {adapter.full_name} is restricted: its owner decides who downloads it. Sign in, and "
            f"ask for access on its page (/{adapter.full_name})."
        )


def is_held_back(commit: Commit) -> bool:
    """The adapter in this tree is in quarantine, whatever else was changed beside it."""
    return commit.examined_as is not None and commit.examined_as.quarantined_at is not None


def require_write(visitor: Visitor, adapter: Adapter) -> None:
    """Raises NotFound, NotAllowed."""
    require_read(visitor, adapter)
    if not may_write(visitor, adapter):
        raise NotAllowed(
            f"{adapter.full_name} belongs to {adapter.owner.username}; only its owner may change it, "
            "and of an organisation its maintainers"
        )


def require_maintain(visitor: Visitor, adapter: Adapter) -> None:
    """Raises NotFound, NotAllowed."""
    require_read(visitor, adapter)
    if not may_maintain(visitor, adapter):
        raise NotAllowed(f"only a maintainer of {adapter.library or 'this hub'} may do this")


def may_write(visitor: Visitor, adapter: Adapter) -> bool:
    """The owner uploads and yanks; of an organisation its maintainers and owners."""
    return roles.holds(visitor, adapter.owner, Role.MAINTAINER)


def keepers(adapter: Adapter) -> list[User]:
    """Who looks after it, and hears what becomes of it."""
    return roles.people_of(adapter.owner, Role.MAINTAINER)


def maintainers(adapter: Adapter) -> list[User]:
    """Who decides about it: its library's maintainer, or some of the hub's staff where there is none."""
    maintainer = adapter.library.maintainer if adapter.library else None
    if maintainer is not None and maintainer.is_active:
        return [maintainer]
    return list(User.objects.filter(is_staff=True, is_active=True).order_by("pk")[:MOST_TOLD])


def may_maintain(visitor: Visitor, adapter: Adapter) -> bool:
    """The library's maintainer and the hub's staff quarantine and restore."""
    if adapter.library is None:
        return visitor.is_authenticated and visitor.is_staff
    return library_permissions.may_maintain(visitor, adapter.library)
