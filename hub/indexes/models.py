"""What goes out: numbered states of a library's routing index, which one is served, and composed
checkpoints.
"""

from typing import Any, ClassVar, NamedTuple

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, F, Index, Q, QuerySet, UniqueConstraint
from django.db.models.functions import Now

from hub.adapters.models import Gates, Release
from hub.blobs.models import Blob
from hub.errors import Conflict
from hub.library.models import Library


class IndexVersion(models.Model):
    """One numbered state of a library's routing index. Planned, then published, then never changed."""

    class Status(models.TextChoices):
        PLANNED = "planned"
        PUBLISHED = "published"

    library = models.ForeignKey(Library, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    status = models.CharField(max_length=10, choices=Status, default=Status.PLANNED)
    policy = models.JSONField()
    encoder = models.JSONField(null=True, blank=True, help_text="what reads prompts; nothing: the base")
    base_digest = models.CharField(max_length=64)
    expert_count = models.PositiveIntegerField()
    manifest = models.CharField(max_length=64, blank=True)
    size = models.PositiveBigIntegerField(
        default=0, help_text="bytes of all vectors and factors that it names"
    )
    planned_at = models.DateTimeField(db_default=Now())
    published_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [
            UniqueConstraint(fields=["library", "number"], name="version_numbers_are_unique"),
            UniqueConstraint(
                fields=["library"], condition=Q(status="planned"), name="one_planned_version_per_library"
            ),
            CheckConstraint(condition=Q(number__gte=1), name="versions_begin_at_one"),
            CheckConstraint(
                condition=Q(status="planned", manifest="", published_at=None)
                | (Q(status="published", published_at__isnull=False) & ~Q(manifest="")),
                name="a_published_version_has_a_manifest",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.library.slug}@{self.number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """A published version never changes (a trigger in the database refuses it too)."""
        if self.pk and type(self).objects.filter(pk=self.pk, status=self.Status.PUBLISHED).exists():
            raise Conflict(f"Index version {self} is published; a published version never changes")
        super().save(*args, **kwargs)

    def members(self) -> QuerySet[Release]:
        """The experts, in no order; queries.experts(version) gives them by name."""
        return Release.objects.filter(pk__in=self.memberships().values("release"))

    def memberships(self) -> "QuerySet[IndexMember]":
        """Which releases are members, with which gates."""
        lasting = Q(until=None) | Q(until__gt=self.number)
        return IndexMember.objects.filter(lasting, library=self.library_id, since__lte=self.number)


class PromptClassifier(models.Model):
    """What was trained to say which expert a prompt is for, before its version was written."""

    version = models.OneToOneField(IndexVersion, on_delete=models.PROTECT, related_name="prompt_classifier")
    digest = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField()
    report = models.JSONField(help_text="what its held-out prompts say: accuracy, calibration error, ...")
    reliability = models.JSONField(
        null=True,
        blank=True,
        help_text="by adapter: held-out prompts by what was stated, and how many were its; null: unknown",
    )

    class Meta:
        constraints: ClassVar = [
            CheckConstraint(condition=~Q(digest=""), name="a_prompt_classifier_is_in_the_store"),
        ]

    def __str__(self) -> str:
        return f"classifier of {self.version}"


class Membership(NamedTuple):
    """What an index version takes of a release, by the keys and digests of the database."""

    release_id: int
    gates_id: int | None
    profile_digest: str
    profile_size: int


class IndexMember(models.Model):
    """That a release is a member of all versions from `since` until before `until`.

    An interval instead of a row per version: publishing one more expert writes one row, however large the
    library.
    """

    library = models.ForeignKey(Library, on_delete=models.PROTECT, related_name="memberships")
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="memberships")
    gates = models.ForeignKey(
        Gates, on_delete=models.PROTECT, related_name="memberships", null=True, blank=True
    )
    profile_digest = models.CharField(max_length=64, blank=True, help_text="how query routers know it")
    profile_size = models.PositiveBigIntegerField(default=0)
    since = models.PositiveIntegerField()
    until = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [Index(fields=["library", "since"], name="members_by_library")]
        constraints: ClassVar = [
            UniqueConstraint(fields=["release"], condition=Q(until=None), name="a_release_is_a_member_once"),
            CheckConstraint(
                condition=Q(until=None) | Q(until__gt=F("since")), name="membership_ends_after_it_began"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.release_id} [{self.since}, {self.until or ''})"

    @property
    def identity(self) -> "Membership":
        """What makes it another member: another release, other gates, or another introduction."""
        return Membership(self.release_id, self.gates_id, self.profile_digest, self.profile_size)

    @property
    def gates_number(self) -> int | None:
        """Which of the release's gates it is recognised by; None: by its prototypes alone."""
        return self.gates.number if self.gates else None

    @property
    def vectors_digest(self) -> str:
        """What the member is recognised by: with its gates, where it has any."""
        return self.gates.vectors_digest if self.gates else self.release.vectors_digest

    @property
    def vectors_size(self) -> int:
        return self.gates.vectors_size if self.gates else self.release.vectors_size

    def holds(self, number: int) -> bool:
        """Is it a membership in the version of this number?"""
        return self.since <= number and (self.until is None or number < self.until)


class Promotion(models.Model):
    """Who made which version the served one, when and why. Rolling back is promoting an older one."""

    library = models.ForeignKey(Library, on_delete=models.PROTECT, related_name="promotions")
    version = models.ForeignKey(IndexVersion, on_delete=models.PROTECT, related_name="promotions")
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    reason = models.TextField(blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return f"{self.version} by {self.by or 'the hub'}"


class ComposedCheckpoint(models.Model):
    """Experts and router in the base, or merged into it, written out to be downloaded."""

    class Kind(models.TextChoices):
        ROUTED = "routed"
        ADAPTER = "adapter"
        MERGED = "merged"

    class Status(models.TextChoices):
        REQUESTED = "requested"
        READY = "ready"
        FAILED = "failed"

    library = models.ForeignKey(Library, on_delete=models.PROTECT, related_name="checkpoints")
    version = models.ForeignKey(IndexVersion, on_delete=models.PROTECT, related_name="checkpoints")
    kind = models.CharField(max_length=10, choices=Kind)
    options = models.JSONField(default=dict, help_text="experts (names, empty for all) and rank")
    status = models.CharField(max_length=10, choices=Status, default=Status.REQUESTED)
    archive_digest = models.CharField(max_length=64, blank=True)
    archive_size = models.PositiveBigIntegerField(default=0)
    rounding = models.JSONField(
        null=True,
        blank=True,
        help_text="how its weights were rounded and what that changed, as its fletch.json says; "
        "nothing: they were not",
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="checkpoints"
    )
    created_at = models.DateTimeField(db_default=Now())
    ready_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            CheckConstraint(
                condition=~Q(status="ready") | (~Q(archive_digest="") & Q(ready_at__isnull=False)),
                name="a_ready_checkpoint_has_a_digest",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version}-{self.kind}"

    @property
    def folder(self) -> str:
        """The name of the directory inside the downloaded archive."""
        return f"{self.library.slug}-v{self.version.number}-{self.kind}"


class CheckpointFile(models.Model):
    """A path in a composed checkpoint and the bytes there."""

    checkpoint = models.ForeignKey(ComposedCheckpoint, on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=255)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering: ClassVar = ["path"]
        constraints: ClassVar = [
            UniqueConstraint(fields=["checkpoint", "path"], name="a_checkpoint_path_names_one_file"),
        ]

    def __str__(self) -> str:
        return self.path
