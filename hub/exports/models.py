"""What goes to other hubs: a release or a composed checkpoint, where to, and what came of it."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, Q, UniqueConstraint
from django.db.models.functions import Now

from hub.adapters.models import Release
from hub.indexes.models import ComposedCheckpoint


class Export(models.Model):
    """One push to a repository of another hub. Its token is kept, sealed, only until it has ended."""

    class Status(models.TextChoices):
        REQUESTED = "requested"
        DONE = "done"
        REFUSED = "refused"
        FAILED = "failed"

    release = models.ForeignKey(
        Release, on_delete=models.CASCADE, null=True, blank=True, related_name="exports"
    )
    checkpoint = models.ForeignKey(
        ComposedCheckpoint, on_delete=models.CASCADE, null=True, blank=True, related_name="exports"
    )
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="exports"
    )
    hub = models.CharField(max_length=300, help_text="this hub's own address, as the card there says it")
    endpoint = models.CharField(max_length=200, help_text="the other hub, for example https://huggingface.co")
    repo = models.CharField(max_length=200, help_text="owner/name there")
    private = models.BooleanField(default=False, help_text="whoever asked wants a private repository there")
    token = models.TextField(blank=True, help_text="of the other hub, encrypted; gone when this has ended")
    status = models.CharField(max_length=10, choices=Status, default=Status.REQUESTED)
    commit = models.CharField(max_length=40, blank=True, help_text="what the other hub calls it")
    note = models.TextField(blank=True, help_text="why nothing came of it, or not yet")
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            UniqueConstraint(
                fields=["release", "endpoint", "repo"],
                condition=Q(status="requested"),
                name="a_release_is_on_its_way_to_a_place_once",
            ),
            UniqueConstraint(
                fields=["checkpoint", "endpoint", "repo"],
                condition=Q(status="requested"),
                name="a_checkpoint_is_on_its_way_to_a_place_once",
            ),
            CheckConstraint(
                condition=Q(release=None, checkpoint__isnull=False)
                | Q(release__isnull=False, checkpoint=None),
                name="an_export_is_of_one_thing",
            ),
            CheckConstraint(
                condition=Q(status="requested", ended_at=None)
                | (Q(status__in=["done", "refused", "failed"], ended_at__isnull=False) & Q(token="")),
                name="an_export_that_ended_has_no_token",
            ),
            CheckConstraint(
                condition=(Q(status="done") & ~Q(commit="")) | (~Q(status="done") & Q(commit="")),
                name="an_export_that_is_done_has_a_commit",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.release or self.checkpoint} to {self.place}"

    @property
    def place(self) -> str:
        """The repository there."""
        return f"{self.endpoint}/{self.repo}"

    @property
    def address(self) -> str:
        """Where a browser finds what was pushed."""
        return f"{self.place}/commit/{self.commit}" if self.commit else self.place
