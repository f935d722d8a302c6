"""What is decided about how a library is run goes on record in the same transaction."""

from django.dispatch import receiver

from hub.accounts.models import User
from hub.decisions import services
from hub.library.models import Library
from hub.library.signals import settings_changed


@receiver(settings_changed)
def _settings_changed(
    library: Library, before: str, after: str, by: User | None, reason: str, **_: object
) -> None:
    services.about_settings(library, before=before, after=after, by=by, reason=reason)
