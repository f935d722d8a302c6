"""Who fetched a release's weights today, as nobody can read it, and how many did on each day."""

from typing import ClassVar

from django.db import models
from django.db.models import CheckConstraint, Q, UniqueConstraint

from hub.adapters.models import Release

MEANING = (
    "distinct downloads: people or addresses that fetched a release's weights, each counted once a day; "
    "its owner is not counted"
)


class Download(models.Model):
    """Somebody fetched a release's weights on a day. Kept until that day is over and counted."""

    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="+")
    day = models.DateField(help_text="in UTC")
    who = models.CharField(
        max_length=32, help_text="a keyed digest of person or address, another one on every day"
    )

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            UniqueConstraint(fields=["day", "release", "who"], name="everybody_is_counted_once_a_day"),
        ]

    def __str__(self) -> str:
        return f"{self.release_id} on {self.day}"


class DayOfDownloads(models.Model):
    """How many people and addresses fetched a release's weights on one day."""

    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="days_of_downloads")
    day = models.DateField()
    count = models.PositiveIntegerField()

    class Meta:
        ordering: ClassVar = ["release", "day"]
        verbose_name_plural = "days of downloads"
        constraints: ClassVar = [
            UniqueConstraint(fields=["release", "day"], name="a_release_has_one_count_a_day"),
            CheckConstraint(condition=Q(count__gt=0), name="a_day_without_downloads_has_no_row"),
        ]

    def __str__(self) -> str:
        return f"{self.release_id} on {self.day}: {self.count}"
