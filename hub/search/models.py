"""What adapters are found by: one row for each, written in the transaction that changes what it says."""

from typing import ClassVar

from django.db import models
from django.db.models import CheckConstraint, Index, Q

from hub.adapters.models import Adapter


class Entry(models.Model):
    """An adapter as lists show, filter and sort it. Who may know of it, its library and its owner stay with
    the adapter.

    The database keeps its own index over `words`: an FTS5 table of SQLite, a tsvector of PostgreSQL
    (migration 0002). Both hold exactly the words that `hub.search.words` makes, so that both find the same.
    """

    class Standing(models.TextChoices):
        """What became of the newest release."""

        READY = "ready", "Ready"
        EXAMINED = "examined", "Being examined"
        REJECTED = "rejected", "Rejected"
        QUARANTINED = "quarantined", "Quarantined"
        YANKED = "yanked", "Withdrawn"
        EMPTY = "empty", "No release"

    class Kind(models.TextChoices):
        LORA = "lora", "LoRA"
        DORA = "dora", "DoRA"
        IA3 = "ia3", "(IA)\N{SUPERSCRIPT THREE}"
        UNKNOWN = "", "Unknown"

    adapter = models.OneToOneField(Adapter, on_delete=models.CASCADE, primary_key=True, related_name="entry")
    words = models.TextField(help_text="every word by which it is found, each once")
    about = models.CharField(max_length=300, blank=True, help_text="the first sentences of its card")
    task = models.CharField(max_length=200, blank=True)
    licence = models.CharField(max_length=200, blank=True)
    kind = models.CharField(max_length=4, choices=Kind, default=Kind.UNKNOWN, blank=True)
    rank = models.PositiveIntegerField(null=True, blank=True, help_text="the largest of any target module")
    standing = models.CharField(max_length=11, choices=Standing, default=Standing.EMPTY)
    newest_at = models.DateTimeField(null=True, blank=True, help_text="when the newest release came")
    likes = models.PositiveIntegerField(default=0)
    used = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        help_text="tokens of the last 30 days that chose it, on average over the modules; none: nothing",
    )

    class Meta:
        ordering: ClassVar = ["pk"]
        verbose_name_plural = "entries"
        indexes: ClassVar = [Index(fields=["-newest_at"], name="entries_by_newest_release")]
        constraints: ClassVar = [
            CheckConstraint(
                condition=Q(standing__in=["ready", "examined", "rejected", "quarantined", "yanked", "empty"]),
                name="entry_standing_is_known",
            ),
        ]

    def __str__(self) -> str:
        return f"entry of {self.adapter_id}"
