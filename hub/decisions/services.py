"""Putting decisions on record. Called where they are made, inside the same transaction: by pages, API and
commands alike.
"""

from hub.accounts.models import User
from hub.adapters.models import Release
from hub.decisions.models import Decision
from hub.library.models import Library


def about_serving(
    library: Library, *, before: int | None, after: int, by: User | None, reason: str
) -> Decision:
    """Another version is served; a lower number than before is a rollback."""
    back = before is not None and after < before
    return Decision.objects.create(
        library=library,
        what=Decision.What.ROLLED_BACK if back else Decision.What.PROMOTED,
        before=f"version {before}" if before is not None else "",
        after=f"version {after}",
        by=by,
        reason=reason,
    )


def about_settings(library: Library, *, before: str, after: str, by: User | None, reason: str) -> Decision:
    """A library is run otherwise from now on."""
    most = Decision._meta.get_field("after").max_length or 0  # noqa: SLF001  Django's documented way
    return Decision.objects.create(
        library=library,
        what=Decision.What.CHANGED,
        before=before[:most],
        after=after[:most],
        by=by,
        reason=reason,
    )


def about_release(
    release: Release, what: Decision.What, *, before: str, after: str, by: User | None, reason: str
) -> Decision:
    """A release, or its gates, stand otherwise now."""
    return Decision.objects.create(
        library=release.library,
        release=release,
        what=what,
        before=before,
        after=after,
        by=by,
        reason=reason,
    )
