"""Organisations: founded, joined by invitation, left; never without an owner."""

from enum import StrEnum

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.functions import Now

from hub.accounts.models import Membership, User
from hub.accounts.roles import Role
from hub.accounts.signals import membership_changed
from hub.errors import Conflict, Invalid, NotFound

MOST_FOUNDED = 10  # by one person: a name is taken from everybody else
MOST_PEOPLE = 500


class Happened(StrEnum):
    """What became of somebody's membership."""

    INVITED = "invited"
    JOINED = "joined"
    CHANGED = "changed"
    REMOVED = "removed"


@transaction.atomic
def found(*, name: str, by: User) -> User:
    """A new organisation, of which this person is the first owner. Raises Invalid, Conflict."""
    User.objects.select_for_update(no_key=True).get(pk=by.pk)
    owned = Membership.objects.filter(user=by, role=Role.OWNER, joined_at__isnull=False).count()
    if owned >= MOST_FOUNDED:
        raise Conflict(f"you own {owned} organisations already; give one to somebody else first")
    organisation = User(username=name.strip().lower(), kind=User.Kind.ORGANISATION)
    organisation.set_unusable_password()
    try:
        organisation.full_clean()
    except ValidationError as error:
        raise Invalid(" ".join(error.messages)) from error
    organisation.save()
    Membership.objects.create(organisation=organisation, user=by, role=Role.OWNER, joined_at=Now())
    return organisation


@transaction.atomic
def invite(*, organisation: User, user: User, role: str, by: User) -> Membership:
    """Ask somebody to join as this. They belong to it once they accept. Raises Invalid, Conflict."""
    _lock(organisation)
    if user.is_organisation:
        raise Invalid(f"{user.username} is an organisation; only people can be members")
    known = Membership.objects.filter(organisation=organisation)
    if known.filter(user=user).exists():
        raise Conflict(f"{user.username} is a member of {organisation.username} already, or invited")
    if known.count() >= MOST_PEOPLE:
        raise Conflict(f"{organisation.username} has {MOST_PEOPLE} people, the most an organisation may have")
    invited = Membership.objects.create(
        organisation=organisation, user=user, role=_checked(role), invited_by=by
    )
    _tell(invited, Happened.INVITED, by)
    return invited


@transaction.atomic
def accept(*, organisation: User, user: User) -> None:
    """Join where one was invited. Raises NotFound."""
    invited = _membership(organisation, user)
    waiting = Membership.objects.filter(pk=invited.pk, joined_at=None)
    if not waiting.update(joined_at=Now()):
        raise NotFound(f"you belong to {organisation.username} already")
    _tell(invited, Happened.JOINED, user)


@transaction.atomic
def change_role(*, organisation: User, user: User, role: str, by: User) -> None:
    """Make somebody more, or less. Raises NotFound, Invalid, Conflict where no owner would be left."""
    _lock(organisation)
    member = _membership(organisation, user)
    wanted = _checked(role)
    if member.role == wanted:
        return
    if wanted != Role.OWNER:
        _keep_an_owner(member)
    Membership.objects.filter(pk=member.pk).update(role=wanted)
    member.role = wanted
    _tell(member, Happened.CHANGED, by)


@transaction.atomic
def remove(*, organisation: User, user: User, by: User) -> None:
    """Somebody leaves, is put out, or an invitation is taken back or turned down.

    Raises NotFound; Conflict where no owner would be left.
    """
    _lock(organisation)
    member = _membership(organisation, user)
    _keep_an_owner(member)
    Membership.objects.filter(pk=member.pk).delete()
    _tell(member, Happened.REMOVED, by)


def _lock(organisation: User) -> None:
    """Two owners who leave at the same moment would leave nobody."""
    User.objects.select_for_update(no_key=True).get(pk=organisation.pk)


def _membership(organisation: User, user: User) -> Membership:
    known = Membership.objects.filter(organisation=organisation, user=user)
    member = known.select_related("organisation", "user").first()
    if member is None:
        raise NotFound(f"{user.username} is neither a member of {organisation.username} nor invited")
    return member


def _keep_an_owner(member: Membership) -> None:
    """Raises Conflict where this one is the last."""
    owners = Membership.objects.filter(
        organisation=member.organisation, role=Role.OWNER, joined_at__isnull=False
    )
    if member.role == Role.OWNER and not owners.exclude(pk=member.pk).exists() and member.joined_at:
        raise Conflict(
            f"{member.user.username} is the only owner of {member.organisation.username}; "
            "make somebody else an owner first"
        )


def _checked(role: str) -> Role:
    if role not in Role.values:
        raise Invalid(f"role is {role!r}; expected one of {', '.join(Role.values)}")
    return Role(role)


def _tell(membership: Membership, what: Happened, by: User) -> None:
    membership_changed.send(sender=Membership, membership=membership, what=what, by=by)
