"""Who may have the files of a gated adapter, and who is invited to a private one."""

from django.db import transaction

from hub.accounts.models import User
from hub.adapters import permissions
from hub.adapters.models import Access, Adapter
from hub.adapters.signals import access_asked, access_decided
from hub.errors import Invalid, NotFound

State = Access.State


def gate(*, adapter: Adapter, gating: str) -> None:
    """Open an adapter's files to all, to whoever asks, or to whom its owner says yes. Raises Invalid."""
    if gating not in Adapter.Gating.values:
        raise Invalid(f"gated is {gating!r}; expected 'auto', 'manual' or nothing")
    Adapter.objects.filter(pk=adapter.pk).update(gating=gating)


@transaction.atomic
def ask(*, adapter: Adapter, user: User, message: str = "") -> Access:
    """A person asks for the files; where nobody needs to decide they have them at once. Raises Invalid."""
    if not adapter.gating:
        raise Invalid(f"{adapter.full_name} is open: its files can be downloaded without asking")
    state = State.ACCEPTED if adapter.gating == Adapter.Gating.AUTO else State.PENDING
    asked, is_new = Access.objects.get_or_create(
        adapter=adapter, user=user, defaults={"state": state, "message": message.strip()[:500]}
    )
    if is_new:
        access_asked.send(sender=Access, access=asked)
    return asked


def take_back(*, adapter: Adapter, user: User) -> None:
    """A person asks no longer, while nobody has decided. Raises NotFound."""
    waiting = Access.objects.filter(adapter=adapter, user=user, state=State.PENDING)
    if not waiting.delete()[0]:
        raise NotFound(f"nothing that you asked of {adapter.full_name} is undecided")


@transaction.atomic
def decide(*, adapter: Adapter, user: User, state: str, reason: str = "") -> Access:
    """Its owner says yes or no, or that it is to be decided again. Raises NotFound, Invalid."""
    if state not in State.values:
        raise Invalid(f"status is {state!r}; expected one of {', '.join(State.values)}")
    asked = Access.objects.filter(adapter=adapter, user=user).select_for_update(no_key=True).first()
    if asked is None:
        raise NotFound(f"{user.username} did not ask for {adapter.full_name}")
    asked.state, asked.reason = state, reason.strip()[:500]
    asked.save(update_fields=["state", "reason"])
    access_decided.send(sender=Access, access=asked)
    return asked


@transaction.atomic
def invite(*, adapter: Adapter, user: User) -> Access:
    """Let somebody in who did not ask; whoever was turned away is let in after all. Raises Invalid."""
    if permissions.is_theirs(user, adapter):
        raise Invalid(f"{adapter.full_name} is {user.username}'s already")
    was_in = Access.objects.filter(adapter=adapter, user=user, state=State.ACCEPTED).exists()
    invited, _ = Access.objects.update_or_create(
        adapter=adapter, user=user, defaults={"state": State.ACCEPTED, "reason": ""}
    )
    if not was_in:
        access_decided.send(sender=Access, access=invited)
    return invited


def remove(*, adapter: Adapter, user: User) -> None:
    """Forget that somebody was let in or asked. What they downloaded they have. Raises NotFound."""
    if not Access.objects.filter(adapter=adapter, user=user).delete()[0]:
        raise NotFound(f"{user.username} has no access to {adapter.full_name}")


def person(username: str) -> User:
    """By name. Raises NotFound."""
    found = User.objects.filter(
        username=username.strip().lower(), is_active=True, kind=User.Kind.PERSON
    ).first()
    if found is None:
        raise NotFound(f"There is nobody called {username.strip()[:50]} here.")
    return found
