"""Reports of abuse: somebody says that an adapter should not be here, and a maintainer answers."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.db.models.functions import Now

from hub.adapters.models import Adapter


class Report(models.Model):
    """What one person says is wrong with an adapter. It is open until somebody resolves it with a note."""

    class Reason(models.TextChoices):
        RIGHTS = "rights", "It uses what it has no right to: a licence, a copyright, a name"
        HARM = "harm", "It was made to harm, or it is against the law"
        DECEIT = "deceit", "It is not what it says, or it tampers with answers"
        PRIVACY = "privacy", "It gives away what is private about somebody"
        OTHER = "other", "Something else"

    adapter = models.ForeignKey(Adapter, on_delete=models.CASCADE, related_name="reports")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    reason = models.CharField(max_length=10, choices=Reason)
    text = models.TextField(max_length=2000)
    created_at = models.DateTimeField(db_default=Now())
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    note = models.TextField(
        max_length=2000, blank=True, help_text="what was done about it; who reported reads it"
    )

    class Meta:
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [
            Index(fields=["adapter", "-id"], condition=Q(resolved_at=None), name="reports_that_are_open")
        ]
        constraints: ClassVar = [
            UniqueConstraint(
                fields=["adapter", "by"],
                condition=Q(resolved_at=None),
                name="one_open_report_per_person_and_adapter",
            ),
            CheckConstraint(
                condition=Q(resolved_at=None, note="") | (Q(resolved_at__isnull=False) & ~Q(note="")),
                name="a_resolved_report_and_no_other_says_how",
            ),
        ]

    def __str__(self) -> str:
        return f"report {self.pk} of {self.adapter}"
