"""What is grown: a library, one per base model, and how it is served."""

from collections.abc import Mapping
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, F, Q, UniqueConstraint
from django.db.models.functions import Lower, Now

from hub.blobs.models import Blob
from hub.library.policy import DEFAULT

BASE_ENCODER = "base:"  # how the names of encoders begin that are the base itself, as routing gives them
GATE_SOURCES = ("samples", "brought", "collector")


def default_policy() -> dict[str, object]:
    """What a policy is when nothing is decided."""
    return DEFAULT.model_dump()


def default_gate_sources() -> list[str]:
    """Each expert's gates apart on the collector's rows route worse than any others: only who says so uses
    them (docs/routing/phatgoose.md).
    """
    return ["samples", "brought"]


FOLDER_LIKE = ("/", ".", "~", "\\")  # as no id of a hub begins


def public_source(source: str) -> str:
    """A base or an encoder as anybody may know it: a hub id, or the last part of a folder's path."""
    if not source.startswith(FOLDER_LIKE):
        return source
    return source.rstrip("/\\").replace("\\", "/").rpartition("/")[2]


def public_encoder(encoder: Mapping[str, object] | None) -> dict[str, object] | None:
    """An encoder as index versions name it, without the place of its folder on the workers."""
    return None if encoder is None else {**encoder, "source": public_source(str(encoder["source"]))}


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
        default=False, help_text="train PHATGOOSE gates on rows of contributors and maintainers"
    )
    gate_sources = models.JSONField(
        default=default_gate_sources, help_text="whose gates are used, the preferred first"
    )
    embed_samples = models.BooleanField(
        default=False,
        help_text="embed the sample prompts that contributors gave, publish the embeddings with the index, "
        "and train a classifier of prompts on them at each version",
    )
    encoder_source = models.CharField(
        max_length=500,
        blank=True,
        help_text="a sentence encoder that is to read prompts: a folder on the workers, or a hub id; "
        "without one the base reads them",
    )
    encoder_revision = models.CharField(max_length=100, blank=True)
    encoder_settled = models.BooleanField(
        default=True,
        help_text="whether `encoder` is what was asked for, and every expert is introduced by it",
    )
    encoder = models.JSONField(
        null=True,
        blank=True,
        help_text="the encoder that reads prompts now, as an index version names it: source, revision, name",
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
    review_releases = models.BooleanField(
        default=False, help_text="new releases wait in quarantine until a maintainer lets them in"
    )
    guest_key = models.CharField(
        max_length=64,
        blank=True,
        editable=False,
        help_text="by which key serving processes believe lists of private experts, as the index store says",
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

    @property
    def public_base(self) -> str:
        """Its base as anybody may know it."""
        return public_source(self.base_source)

    @property
    def public_encoder(self) -> dict[str, object] | None:
        """Its encoder as anybody may know it; nothing: the base."""
        return public_encoder(self.encoder)

    @property
    def is_base_local(self) -> bool:
        """Whether the base is a folder on the workers, whose place is nobody's business."""
        return self.base_source.startswith(FOLDER_LIKE)

    def embeds_as(self, encoder: str) -> bool:
        """Are embeddings of the encoder of this name what the library's prompts are compared with now?"""
        return encoder.startswith(BASE_ENCODER) if self.encoder is None else encoder == self.encoder["name"]


class CollectorRows(models.Model):
    """Rows that a library's maintainer gave to train every expert's gates on: private, and deletable.

    The digest stays when the rows are gone, so that gates can say what they were trained on.
    """

    library = models.ForeignKey(Library, on_delete=models.PROTECT, related_name="collector_rows")
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    sha256 = models.CharField(max_length=64)
    lines = models.PositiveIntegerField()
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        verbose_name_plural = "collector rows"
        constraints: ClassVar = [
            UniqueConstraint(
                fields=["library"], condition=Q(deleted_at=None), name="one_set_of_collector_rows_per_library"
            ),
            CheckConstraint(
                condition=Q(deleted_at=None, blob__isnull=False) | Q(deleted_at__isnull=False, blob=None),
                name="deleted_rows_and_no_others_have_no_bytes",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.lines} rows of {self.library}"
