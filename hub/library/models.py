"""What is grown: a library, one per base model, and how it is served."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, F, Q
from django.db.models.functions import Lower, Now

from hub.library.policy import Policy


def default_policy() -> dict[str, object]:
    """What a policy is when nothing is decided."""
    return Policy().model_dump()


class Library(models.Model):
    """The experts for one pinned base model."""

    class Status(models.TextChoices):
        RECEIVED = "received"
        READY = "ready"
        FAILED = "failed"

    slug = models.CharField(max_length=96, unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    train_gates = models.BooleanField(
        default=False, help_text="train PHATGOOSE gates on the sample rows that contributors gave"
    )
    base_source = models.CharField(max_length=500, help_text="a folder on the workers, or a hub id")
    base_revision = models.CharField(max_length=100, blank=True)
    base_spec = models.JSONField(
        null=True, blank=True, help_text="what the worker found: digests and target modules"
    )
    base_digest = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.RECEIVED)
    policy = models.JSONField(
        default=default_policy, help_text="router, top_k and temperature that answers begin with"
    )
    auto_promote = models.BooleanField(
        default=True, help_text="serve each new index version as soon as it is published"
    )
    maintainer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="libraries"
    )
    current = models.ForeignKey(
        "indexes.IndexVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["slug"]
        verbose_name_plural = "libraries"
        constraints: ClassVar = [
            CheckConstraint(condition=Q(slug=Lower(F("slug"))), name="library_slugs_are_lower_case"),
            CheckConstraint(
                condition=Q(status__in=["received", "ready", "failed"]), name="library_status_is_known"
            ),
            CheckConstraint(
                condition=~Q(status="ready") | (Q(base_spec__isnull=False) & ~Q(base_digest="")),
                name="a_ready_library_knows_its_base",
            ),
        ]

    def __str__(self) -> str:
        return self.slug
