"""What a person is told about what others, or the workers, did; and of what they want to be told, and how."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.db.models.functions import Now


class Kind(models.TextChoices):
    """What it is about. People choose by kind; the label is how they are asked."""

    READY = "ready", "A release of yours is ready"
    REJECTED = "rejected", "A release of yours was rejected"
    STANDING = "standing", "A maintainer put a release of yours into quarantine, or restored it"
    ASKED = "asked", "Somebody asks for a gated adapter of yours"
    DECIDED = "decided", "You were let in to an adapter, or turned away"
    MEMBER = "member", "You are invited to an organisation, or something changes about you in one"
    ANSWERED = "answered", "A maintainer resolved a report of yours"
    REVIEW = "review", "Something waits for you as a maintainer"


class Notification(models.Model):
    """One thing that one person is told. It says what was true when it was written, and never changes."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notifications")
    kind = models.CharField(max_length=10, choices=Kind)
    title = models.CharField(max_length=250)
    text = models.CharField(max_length=1000, blank=True)
    path = models.CharField(max_length=300, help_text="where on this hub it leads")
    in_page = models.BooleanField(help_text="shown under /notifications")
    by_email = models.BooleanField(help_text="to be sent to the address that the person confirmed")
    created_at = models.DateTimeField(db_default=Now())
    read_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [
            Index(fields=["user", "-id"], condition=Q(in_page=True), name="notifications_shown"),
            Index(
                fields=["user"], condition=Q(in_page=True, read_at=None), name="notifications_nobody_has_read"
            ),
            Index(
                fields=["user", "id"], condition=Q(by_email=True, sent_at=None), name="notifications_to_send"
            ),
            Index(fields=["created_at"], name="notifications_by_age"),
        ]
        constraints: ClassVar = [
            CheckConstraint(
                condition=Q(in_page=True) | Q(by_email=True), name="a_notification_reaches_somebody"
            ),
        ]

    def __str__(self) -> str:
        return self.title


class Preference(models.Model):
    """How one person wants to be told about one kind of thing; without a row, in both ways."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind)
    in_page = models.BooleanField(default=True)
    by_email = models.BooleanField(default=True)

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [UniqueConstraint(fields=["user", "kind"], name="one_preference_per_kind")]

    def __str__(self) -> str:
        return f"{self.user_id} about {self.kind}"
