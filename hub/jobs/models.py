"""The truth about work: a row per job, claimed under a lease by whoever does it."""

from typing import ClassVar

from django.db import models
from django.db.models import CheckConstraint, F, Index, Q, UniqueConstraint
from django.db.models.functions import Now


class JobKind(models.TextChoices):
    """What can be asked for. The value is the name under which workers listen."""

    INSPECT_BASE = "workers.inspect_base"
    VALIDATE = "workers.validate"
    VECTORS = "workers.vectors"
    GATES = "workers.gates"
    INDEX = "workers.index"
    PROMOTE = "workers.promote"
    COMPOSE = "workers.compose"
    CLUSTER = "workers.cluster"
    TRAIN_CLUSTER = "workers.train_cluster"
    IMPORT = "workers.import"
    INTRODUCE = "workers.introduce"
    FEED = "workers.feed"
    EXPORT = "workers.export"
    MAIL = "workers.mail"
    ABLATE = "workers.ablate"
    READ_CARDS = "workers.read_cards"
    DESCRIBE = "workers.describe"


class Queue(models.TextChoices):
    """Which kind of worker a job needs."""

    CPU = "cpu"
    GPU = "gpu"
    IO = "io"


class Job(models.Model):
    """One piece of work about one subject. The fencing token rises with each claim."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    kind = models.CharField(max_length=40, choices=JobKind)
    subject = models.JSONField(help_text="the ids that the task is called with")
    key = models.CharField(max_length=120, help_text="kind and subject in one string")
    queue = models.CharField(max_length=10, choices=Queue)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    attempt = models.PositiveIntegerField(default=0, help_text="claims so far, whatever ended them")
    crashes = models.PositiveIntegerField(default=0, help_text="attempts that this job itself ended badly")
    token = models.PositiveBigIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    not_before = models.DateTimeField(db_default=Now())
    progress_done = models.PositiveBigIntegerField(default=0)
    progress_total = models.PositiveBigIntegerField(default=0)
    progress_note = models.CharField(max_length=200, blank=True)
    log = models.TextField(blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [
            Index(
                fields=["not_before", "id"],
                condition=Q(state__in=["queued", "running"]),
                name="jobs_that_may_be_due",
            ),
            Index(fields=["key", "-id"], name="jobs_by_subject"),
            Index(fields=["-id"], condition=Q(state="failed"), name="jobs_that_failed"),
        ]
        constraints: ClassVar = [
            UniqueConstraint(fields=["key"], condition=Q(state="queued"), name="one_queued_job_per_subject"),
            CheckConstraint(
                condition=Q(state__in=["queued", "running", "done", "failed"]), name="job_state_is_known"
            ),
            CheckConstraint(
                condition=Q(state="running", lease_until__isnull=False)
                | (~Q(state="running") & Q(lease_until=None)),
                name="a_running_job_and_no_other_has_a_lease",
            ),
            CheckConstraint(
                condition=Q(state__in=["done", "failed"], finished_at__isnull=False)
                | (Q(state__in=["queued", "running"]) & Q(finished_at=None)),
                name="a_finished_job_and_no_other_says_when",
            ),
            CheckConstraint(condition=~Q(state="failed") | ~Q(error=""), name="a_failed_job_says_why"),
            CheckConstraint(
                condition=Q(crashes__lte=F("attempt")), name="a_job_crashes_at_most_once_per_attempt"
            ),
        ]

    def __str__(self) -> str:
        return f"job {self.pk} {self.key} {self.state}"


class JobEvent(models.Model):
    """The audit trail: each transition of a job, once."""

    class What(models.TextChoices):
        CLAIMED = "claimed"
        GIVEN_BACK = "given back"
        CRASHED = "crashed"
        DONE = "done"
        FAILED = "failed"
        SUPERSEDED = "superseded"
        RETRIED = "retried"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    what = models.CharField(max_length=12, choices=What)
    token = models.PositiveBigIntegerField()
    detail = models.TextField(blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            UniqueConstraint(
                fields=["job", "token"],
                condition=Q(what__in=["done", "failed", "superseded", "crashed", "given back"]),
                name="an_attempt_ends_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} {self.what}"
