"""How often the experts of an index version were chosen: sums by day and by module, nothing of any answer."""

from typing import ClassVar

from django.db import models
from django.db.models import CheckConstraint, Q, UniqueConstraint

from hub.adapters.models import Release
from hub.indexes.models import IndexVersion

MEANING = (
    "share of tokens: of all that passed a target module in answers of this library's model, how many chose "
    "this expert there; a token may choose several experts, or none"
)


class Reporter(models.Model):
    """A serving process, and which of its reports was added up last: one that comes again changes nothing."""

    instance = models.CharField(max_length=32, primary_key=True)
    number = models.PositiveBigIntegerField(default=0)
    at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["-at"]

    def __str__(self) -> str:
        return f"{self.instance[:8]} #{self.number}"


class VersionUse(models.Model):
    """Tokens that passed each module in answers by an index version, since its first report."""

    version = models.OneToOneField(IndexVersion, on_delete=models.CASCADE, related_name="use")
    modules = models.JSONField(help_text="target modules, in order")
    tokens = models.JSONField(help_text="tokens that passed each of them")
    last_day = models.DateField()

    class Meta:
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return f"answers by {self.version_id}"


class ExpertUse(models.Model):
    """How many of these tokens chose one expert, at each module in the order of the version's."""

    use = models.ForeignKey(VersionUse, on_delete=models.CASCADE, related_name="experts")
    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="uses")
    hits = models.JSONField()

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            UniqueConstraint(fields=["use", "release"], name="an_expert_is_summed_once_per_version"),
        ]

    def __str__(self) -> str:
        return f"{self.release_id} in {self.use_id}"


class DayOfUse(models.Model):
    """One day of a version: of one of its experts, or, without a release, of all tokens.

    `places` are pairs of a token and a module: where an expert was chosen, or could have been. `tokens` are
    the same divided by the number of modules, so that libraries with different bases can be compared.
    """

    version = models.ForeignKey(IndexVersion, on_delete=models.CASCADE, related_name="days_of_use")
    release = models.ForeignKey(
        Release, on_delete=models.CASCADE, null=True, blank=True, related_name="days_of_use"
    )
    day = models.DateField(db_index=True)
    places = models.PositiveBigIntegerField()
    tokens = models.FloatField()

    class Meta:
        ordering: ClassVar = ["version", "day"]
        verbose_name_plural = "days of use"
        constraints: ClassVar = [
            UniqueConstraint(fields=["version", "release", "day"], name="an_expert_is_summed_once_a_day"),
            UniqueConstraint(
                fields=["version", "day"], condition=Q(release=None), name="a_version_is_summed_once_a_day"
            ),
            CheckConstraint(condition=Q(places__gt=0), name="a_day_without_uses_has_no_row"),
        ]

    def __str__(self) -> str:
        return f"{self.release_id or 'all'} in {self.version_id} on {self.day}: {self.places}"
