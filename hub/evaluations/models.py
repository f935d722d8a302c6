"""What somebody measured of an index version with a suite of questions."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.db.models.functions import Now

from hub.errors import Conflict
from hub.indexes.models import IndexVersion

NAME = 200
MODEL_ARGS = 1000
TERMS = 300


class Evaluation(models.Model):
    """One run of a suite over one version, as its sender reported it. Recorded, never changed; it may be
    withdrawn.
    """

    version = models.ForeignKey(IndexVersion, on_delete=models.PROTECT, related_name="evaluations")
    suite = models.CharField(max_length=NAME)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    at = models.DateTimeField(db_default=Now())
    limit = models.PositiveIntegerField(null=True, blank=True, help_text="questions of each task; none: all")
    harness = models.CharField(max_length=NAME, help_text="which version of the harness asked")
    model_args = models.CharField(max_length=MODEL_ARGS, blank=True, help_text="how the model was opened")
    members = models.JSONField(help_text="by member of the suite: its metric, how many questions")
    rows = models.JSONField(help_text="by way to answer: its mean, and what it is above the base")
    scores = models.JSONField(help_text="by way to answer: the value of each member")
    policy_mean = models.FloatField(
        null=True, blank=True, help_text="of the library's policy, out of `rows`: what is drawn over versions"
    )
    terms = models.CharField(
        max_length=TERMS,
        blank=True,
        db_default="",
        help_text="why its questions may be shown; empty: none were sent",
    )
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [Index(fields=["version", "suite"], name="evaluations_by_suite")]
        constraints: ClassVar = [
            CheckConstraint(condition=~Q(suite=""), name="an_evaluation_names_its_suite"),
        ]

    def __str__(self) -> str:
        return f"{self.suite} of {self.version}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Raises Conflict where it is there already: a figure is not corrected but withdrawn."""
        if self.pk:
            raise Conflict(f"Evaluation {self.pk} is recorded; withdraw it and send another one")
        super().save(*args, **kwargs)

    def row(self, kind: str) -> dict[str, Any] | None:
        """How the base, or the library's policy, did."""
        return next((row for row in self.rows if row["kind"] == kind), None)

    @property
    def shown(self) -> list[dict[str, Any]]:
        """What a page has room for: each way but single experts, and the best of those."""
        singles = [row for row in self.rows if row["kind"] == "expert"]
        best = max(singles, key=lambda row: row["mean"], default=None)
        return [row for row in self.rows if row["kind"] != "expert" or row is best]


class MemberQuestions(models.Model):
    """Some questions of one member of an evaluation's suite, which `python -m evaluation --questions` chose.
    They have prompts and answers, so they are deleted for good when somebody asks, or newer ones come.
    """

    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="questions")
    member = models.CharField(max_length=NAME)
    layers = models.JSONField(default=list, help_text="of the base; what answers say by layer is of these")
    questions = models.JSONField(help_text="each with prompt, expected answer, and each way's answer")
    count = models.PositiveSmallIntegerField()

    class Meta:
        constraints: ClassVar = [
            UniqueConstraint(fields=["evaluation", "member"], name="questions_of_a_member_once"),
        ]

    def __str__(self) -> str:
        return f"{self.count} questions of {self.member}, {self.evaluation}"
