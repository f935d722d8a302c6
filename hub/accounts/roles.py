"""Who belongs to which organisation, and as what: the one place that permissions of other apps ask."""

from collections.abc import Sequence

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet

from hub.accounts.models import Membership, User
from hub.errors import NotAllowed

Role = Membership.Role
AT_LEAST: dict[Role, Sequence[Role]] = {
    Role.MEMBER: (Role.MEMBER, Role.MAINTAINER, Role.OWNER),
    Role.MAINTAINER: (Role.MAINTAINER, Role.OWNER),
    Role.OWNER: (Role.OWNER,),
}


def memberships(user: User | AnonymousUser, at_least: Role = Role.MEMBER) -> QuerySet[Membership]:
    """What this person is in organisations, of this role or a higher one. Invitations do not count."""
    if not user.is_authenticated:
        return Membership.objects.none()
    return Membership.objects.filter(user=user, role__in=AT_LEAST[at_least], joined_at__isnull=False)


def holds(user: User | AnonymousUser, account: User, at_least: Role) -> bool:
    """Does this person speak for this account: their own, or an organisation's where their role is enough?"""
    if not user.is_authenticated:
        return False
    if user.pk == account.pk:
        return True
    return account.is_organisation and memberships(user, at_least).filter(organisation=account).exists()


def people_of(account: User, at_least: Role) -> list[User]:
    """Whom an account's affairs concern: the person, or an organisation's people of this role or a higher
    one.
    """
    if not account.is_organisation:
        return [account]
    found = Membership.objects.filter(
        organisation=account, role__in=AT_LEAST[at_least], joined_at__isnull=False
    )
    return [one.user for one in found.select_related("user").order_by("pk")]


def namespace(user: User, name: str) -> User:
    """The account under whose name this person may upload. Raises NotAllowed."""
    if not name or name.lower() == user.username:
        return user
    found = memberships(user, Role.MAINTAINER).filter(organisation__username=name.lower())
    one = found.select_related("organisation").first()
    if one is None:
        raise _not_theirs(user, name)
    return one.organisation


def namespaces(user: User) -> list[User]:
    """All accounts under whose names this person may upload, their own first."""
    found = memberships(user, Role.MAINTAINER).select_related("organisation")
    return [user, *(one.organisation for one in found.order_by("organisation__username"))]


def require_uploader(user: User, account: User) -> None:
    """Raises NotAllowed."""
    if not holds(user, account, Role.MAINTAINER):
        raise _not_theirs(user, account.username)


def _not_theirs(user: User, name: str) -> NotAllowed:
    return NotAllowed(
        f"{name}/... is not yours to upload to; your own adapters are called {user.username}/..., and "
        "those of an organisation are its maintainers' and owners' to upload"
    )
