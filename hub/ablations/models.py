"""What each expert contributes: an index version scored on rows with all of its experts and without each."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, F, Q, UniqueConstraint
from django.db.models.functions import Now

from hub.adapters.models import Release
from hub.blobs.models import Blob
from hub.indexes.models import IndexVersion

NAME = 200


class Ablation(models.Model):
    """One measurement of a version on a file of rows that its maintainer gave: private, and deletable.

    Scores are mean log-likelihoods in nats per token of the completions. The digest of the rows stays when
    they are gone, so that figures can say what they were measured on.
    """

    class State(models.TextChoices):
        REQUESTED = "requested"
        DONE = "done"
        STOPPED = "stopped"
        CANCELLED = "cancelled"
        REFUSED = "refused"
        FAILED = "failed"

    version = models.ForeignKey(IndexVersion, on_delete=models.PROTECT, related_name="ablations")
    name = models.CharField(
        max_length=NAME, help_text="what the rows are about, or what their file is called"
    )
    rows_blob = models.ForeignKey(Blob, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    rows_sha256 = models.CharField(max_length=64)
    lines = models.PositiveIntegerField()
    chosen = models.JSONField(default=list, help_text="adapters by id that are left out in turn; none: each")
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    at = models.DateTimeField(db_default=Now())
    state = models.CharField(max_length=10, choices=State, default=State.REQUESTED)
    note = models.TextField(blank=True, help_text="why it ended before every expert was measured")
    rows = models.PositiveIntegerField(default=0, help_text="different rows that were scored")
    score = models.FloatField(null=True, blank=True, help_text="of the library with all of its experts")
    base_score = models.FloatField(null=True, blank=True)
    exact = models.FloatField(null=True, blank=True, help_text="share of rows whose answer is exactly right")
    base_exact = models.FloatField(null=True, blank=True)
    tokens = models.PositiveBigIntegerField(default=0, help_text="read since it was last asked for")
    seconds = models.FloatField(default=0.0, help_text="worked since it was last asked for")
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            UniqueConstraint(fields=["version", "rows_sha256"], name="a_version_is_measured_once_on_rows"),
            CheckConstraint(
                condition=Q(state="requested", settled_at=None)
                | (~Q(state="requested") & Q(settled_at__isnull=False)),
                name="a_settled_ablation_and_no_other_says_when",
            ),
            CheckConstraint(
                condition=~Q(state="done") | Q(score__isnull=False), name="a_done_ablation_has_a_score"
            ),
            CheckConstraint(
                condition=Q(state__in=["requested", "done"]) | ~Q(note=""),
                name="an_ablation_that_ended_early_says_why",
            ),
            CheckConstraint(
                condition=~Q(state="requested") | Q(rows_blob__isnull=False),
                name="a_requested_ablation_has_its_rows",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.version}"


class Contribution(models.Model):
    """What the version scores with an expert less what it scores without it, both on the same rows.

    `gain` is in nats per token, `exact_gain` a share of rows; each with an interval of 95 % by paired
    bootstrap.
    """

    ablation = models.ForeignKey(Ablation, on_delete=models.CASCADE, related_name="contributions")
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="contributions")
    gain = models.FloatField()
    low = models.FloatField()
    high = models.FloatField()
    exact_gain = models.FloatField()
    exact_low = models.FloatField()
    exact_high = models.FloatField()
    heard = models.PositiveIntegerField(help_text="rows at some token of which it had a weight")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["ablation", "-gain", "pk"]
        constraints: ClassVar = [
            UniqueConstraint(fields=["ablation", "release"], name="an_expert_is_measured_once_on_rows"),
            CheckConstraint(condition=Q(low__lte=F("high")), name="an_interval_of_a_gain_is_ordered"),
        ]

    def __str__(self) -> str:
        return f"{self.release} on {self.ablation}"
