"""People are told what happens to their adapters, in the same transaction."""

from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver

from hub.accounts.models import Membership, User
from hub.accounts.organisations import Happened
from hub.accounts.roles import Role, people_of
from hub.accounts.signals import membership_changed
from hub.adapters import permissions
from hub.adapters.models import Access, Adapter, Release, ReleaseEvent
from hub.adapters.signals import access_asked, access_decided
from hub.notifications.models import Kind
from hub.notifications.services import News, tell

What, State = ReleaseEvent.What, Access.State


@receiver(post_save, sender=ReleaseEvent)
def release_event(instance: ReleaseEvent, *, created: bool, **_: Any) -> None:
    """Whatever becomes of a release has a row in its trail, so this is where to listen."""
    if not created:
        return
    if instance.what in HELD_BACK and instance.by_id is None:
        tell(permissions.maintainers(instance.release.adapter), _held(instance.release, instance))
    if instance.what not in SAID:
        return
    release = instance.release
    keepers = [one for one in permissions.keepers(release.adapter) if one.pk != instance.by_id]
    if keepers:
        tell(keepers, SAID[What(instance.what)](release, instance))


@receiver(access_asked)
def asked_for(access: Access, **_: Any) -> None:
    if access.state == State.PENDING:
        adapter, who = access.adapter, access.user.username
        text = f"“{access.message}”" if access.message else "They do not say what for."
        news = News(Kind.ASKED, f"{who} asks for {adapter.full_name}", _page(adapter), text)
        tell(permissions.keepers(adapter), news)


@receiver(access_decided)
def decided(access: Access, **_: Any) -> None:
    name = access.adapter.full_name
    title = {
        State.ACCEPTED: f"You were let in to {name}",
        State.REJECTED: f"You were turned away from {name}",
    }.get(State(access.state))
    if title is not None:
        text = f"Reason: {access.reason}" if access.reason else ""
        tell([access.user], News(Kind.DECIDED, title, _page(access.adapter), text))


@receiver(membership_changed)
def membership(membership: Membership, what: Happened, by: User, **_: Any) -> None:
    """Whoever is concerned is told, unless they did it themselves; of who joins or leaves the owners are."""
    name, who = membership.organisation.username, membership.user.username
    role = membership.get_role_display().partition(":")[0].lower()
    by_themselves = by.pk == membership.user_id
    if what == Happened.JOINED or (what == Happened.REMOVED and by_themselves):
        title = f"{who} {'joined' if what == Happened.JOINED else 'left'} {name}"
        owners = [one for one in people_of(membership.organisation, Role.OWNER) if one.pk != by.pk]
        tell(owners, News(Kind.MEMBER, title, f"/settings/organisations/{name}"))
    elif not by_themselves:
        title, text, path = {
            Happened.INVITED: (
                f"{by.username} invites you to {name}",
                f"You would be a {role} of it. Nothing changes until you accept.",
                "/settings/organisations",
            ),
            Happened.CHANGED: (f"You are a {role} of {name} now", "", f"/{name}"),
            Happened.REMOVED: (f"You belong to {name} no longer", "", f"/{name}"),
        }[what]
        tell([membership.user], News(Kind.MEMBER, title, path, text))


def _ready(release: Release, _event: ReleaseEvent) -> News:
    adapter = release.adapter
    text = "It passed every check. " + (
        "It is private: the served model answers with it to whom you let in."
        if adapter.private
        else f"The next index version of {release.library.name} can serve it."
    )
    return News(Kind.READY, f"{release_name(release)} is ready", _release(release), text)


def _rejected(release: Release, _event: ReleaseEvent) -> News:
    findings = Release.objects.values_list("findings", flat=True).get(pk=release.pk)
    errors = [finding for finding in findings if finding["severity"] == "error"]
    first = errors[0]
    what = f"{first['found']}, expected {first['expected']}" if first["expected"] else first["found"]
    more = f" The report names {len(errors) - 1} more, and how to fix each." if len(errors) > 1 else ""
    title = f"{release_name(release)} was rejected"
    return News(Kind.REJECTED, title, _release(release), f"Found in {first['file'] or 'it'}: {what}.{more}")


def _quarantined(release: Release, event: ReleaseEvent) -> News:
    title = f"{release_name(release)} is in quarantine"
    text = f"It cannot be downloaded, and new index versions leave it out. Reason: {event.reason}"
    return News(Kind.STANDING, title, _release(release), text)


def _held(release: Release, event: ReleaseEvent) -> News:
    what = "has gates that are held back" if event.what == What.GATES_HELD else "waits for a maintainer"
    text = f"Reason: {event.reason}" if event.what == What.QUARANTINED else ""
    return News(Kind.REVIEW, f"{release_name(release)} {what}", "/desk", text)


def _restored(release: Release, event: ReleaseEvent) -> News:
    text = "The next index version takes it in again."
    if event.reason:
        text += f" Reason: {event.reason}"
    return News(Kind.STANDING, f"{release_name(release)} is restored", _release(release), text)


SAID = {
    What.READY: _ready,
    What.REJECTED: _rejected,
    What.QUARANTINED: _quarantined,
    What.RESTORED: _restored,
}


HELD_BACK = {What.QUARANTINED, What.GATES_HELD}  # where nobody did it, the hub did


def release_name(release: Release) -> str:
    return f"Release {release.number} of {release.adapter.full_name}"


def _page(adapter: Adapter) -> str:
    return f"/{adapter.full_name}"


def _release(release: Release) -> str:
    return f"{_page(release.adapter)}/releases/{release.oid}"
