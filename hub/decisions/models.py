"""The audit trail of a library: who decided what, when and why, with before and after; only added to."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, Index, Q
from django.db.models.functions import Now

from hub.errors import Conflict
from hub.library.models import Library


class Decision(models.Model):
    """One entry of a library's audit trail, written in the transaction that makes it true.

    A trigger in the database refuses to change one. Who it was goes when an account goes; all else stays.
    """

    class What(models.TextChoices):
        PROMOTED = "promoted", "Promoted"
        ROLLED_BACK = "rolled back", "Rolled back"
        QUARANTINED = "quarantined", "Put in quarantine"
        YANKED = "yanked", "Withdrew"
        RESTORED = "restored", "Restored"
        GATES_LET_IN = "gates let in", "Let gates in"
        CHANGED = "changed", "Changed how it is run"
        GATES_REFUSED = "gates refused", "Refused gates"

    library = models.ForeignKey(Library, on_delete=models.PROTECT, related_name="decisions")
    what = models.CharField(max_length=16, choices=What)
    release = models.ForeignKey(
        "adapters.Release",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="decisions",
        help_text="about which release; nothing: about what is served",
    )
    before = models.CharField(
        max_length=200, blank=True, help_text="what it was: a version, a standing, or a setting"
    )
    after = models.CharField(max_length=200)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    reason = models.TextField(blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [Index(fields=["library", "-id"], name="decisions_of_a_library")]
        constraints: ClassVar = [
            CheckConstraint(condition=~Q(after=""), name="a_decision_says_what_came_of_it"),
        ]

    def __str__(self) -> str:
        return f"{self.release or self.library} {self.what}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Raises Conflict where it is there already: an audit trail is added to."""
        if self.pk:
            raise Conflict(f"Decision {self.pk} is on record; it is never changed")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:  # noqa: ARG002
        """Raises Conflict."""
        raise Conflict(f"Decision {self.pk} is on record; it is never removed")
