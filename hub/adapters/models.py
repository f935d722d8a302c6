"""What comes in: adapters, their commits and what became of each upload."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.db.models.functions import Now

from hub.blobs.models import Blob
from hub.library.models import Library

FORTY_HEX = r"^[0-9a-f]{40}$"


class Adapter(models.Model):
    """`owner/name`: a named line of work by one contributor. On the wire it is a model repository."""

    class Gating(models.TextChoices):
        """Who may download its files; what is gated is served all the same."""

        OPEN = "", "Everybody"
        AUTO = "auto", "Whoever asks, at once"
        MANUAL = "manual", "Whoever you say yes to"

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="adapters")
    name = models.CharField(max_length=96)
    name_key = models.CharField(
        max_length=96, help_text="the name without case and separators; one per owner"
    )
    library = models.ForeignKey(
        Library,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="adapters",
        help_text="decided by the first commit that holds an adapter, and for good",
    )
    private = models.BooleanField(
        default=False, help_text="seen by its owner and whom they invite, and no member of the routing index"
    )
    gating = models.CharField(max_length=6, choices=Gating, default=Gating.OPEN, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(
        null=True, blank=True, help_text="withdrawn whole; its name stays taken, since versions name it"
    )

    downloads = models.PositiveIntegerField(default=0, help_text="distinct ones of the last 30 days")
    downloads_all_time = models.PositiveBigIntegerField(default=0)
    downloads_as_of = models.DateField(null=True, blank=True, help_text="the last of these 30 days")

    class Meta:
        ordering: ClassVar = ["owner__username", "name"]
        indexes: ClassVar = [
            Index(
                fields=["library"],
                condition=Q(private=False, deleted_at=None),
                name="open_adapters_by_library",
            )
        ]
        constraints: ClassVar = [
            UniqueConstraint(fields=["owner", "name_key"], name="adapter_names_are_unique_per_owner"),
        ]

    def __str__(self) -> str:
        return self.full_name

    @property
    def full_name(self) -> str:
        return f"{self.owner.username}/{self.name}"


class Access(models.Model):
    """What became of one person's wish to have an adapter's files, or of its owner's to give them."""

    class State(models.TextChoices):
        PENDING = "pending"
        ACCEPTED = "accepted"
        REJECTED = "rejected"

    adapter = models.ForeignKey(Adapter, on_delete=models.CASCADE, related_name="accesses")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    state = models.CharField(max_length=8, choices=State, default=State.PENDING)
    message = models.CharField(max_length=500, blank=True, help_text="why they ask")
    reason = models.CharField(max_length=500, blank=True, help_text="why they may not")
    asked_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["-asked_at", "-pk"]
        constraints: ClassVar = [UniqueConstraint(fields=["adapter", "user"], name="one_answer_per_person")]

    def __str__(self) -> str:
        return f"{self.user_id} to {self.adapter_id}: {self.state}"


class Commit(models.Model):
    """One immutable state of an adapter's files, named as git would name it."""

    adapter = models.ForeignKey(Adapter, on_delete=models.PROTECT, related_name="commits")
    oid = models.CharField(max_length=40, unique=True)
    tree_oid = models.CharField(max_length=40)
    parent = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="children"
    )
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="commits")
    message = models.TextField()
    created_at = models.DateTimeField()
    card = models.JSONField(default=dict, blank=True, help_text="front matter of the README in this tree")
    config = models.JSONField(default=dict, blank=True, help_text="what its adapter_config.json says of it")
    examined_as = models.ForeignKey(
        "Release",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="commits",
        help_text="the release that was made of the adapter in this tree, here or in an earlier commit",
    )

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            CheckConstraint(condition=Q(oid__regex=FORTY_HEX), name="commit_oid_is_forty_hex"),
            CheckConstraint(condition=Q(tree_oid__regex=FORTY_HEX), name="tree_oid_is_forty_hex"),
        ]

    def __str__(self) -> str:
        return self.oid


class CommitFile(models.Model):
    """A path in a commit's tree and the bytes there."""

    commit = models.ForeignKey(Commit, on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=255)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering: ClassVar = ["path"]
        constraints: ClassVar = [UniqueConstraint(fields=["commit", "path"], name="a_path_names_one_file")]

    def __str__(self) -> str:
        return self.path


class Ref(models.Model):
    """A name for a commit: a branch moves with every commit that is made on it, a tag stays."""

    class Kind(models.TextChoices):
        BRANCH = "branch"
        TAG = "tag"

    adapter = models.ForeignKey(Adapter, on_delete=models.CASCADE, related_name="refs")
    kind = models.CharField(max_length=6, choices=Kind)
    name = models.CharField(max_length=100)
    commit = models.ForeignKey(Commit, on_delete=models.PROTECT, related_name="refs")
    message = models.TextField(blank=True, help_text="what was said of a tag")

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            UniqueConstraint(
                fields=["adapter", "kind", "name"], name="an_adapters_refs_are_called_differently"
            ),
            CheckConstraint(condition=Q(kind__in=["branch", "tag"]), name="ref_kind_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of {self.adapter}"


class Like(models.Model):
    """Somebody found an adapter good."""

    adapter = models.ForeignKey(Adapter, on_delete=models.CASCADE, related_name="likes")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="likes")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [UniqueConstraint(fields=["adapter", "user"], name="one_like_per_person")]

    def __str__(self) -> str:
        return f"{self.user} likes {self.adapter}"


class AdapterTag(models.Model):
    """A word by which an adapter is found: from its card and configuration on main."""

    adapter = models.ForeignKey(Adapter, on_delete=models.CASCADE, related_name="tags")
    tag = models.CharField(max_length=200, db_index=True)

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            UniqueConstraint(fields=["adapter", "tag"], name="an_adapter_has_a_tag_once"),
        ]

    def __str__(self) -> str:
        return self.tag


class Release(models.Model):
    """One upload of an adapter on its way to being an expert. Statuses are facts."""

    class Status(models.TextChoices):
        RECEIVED = "received"
        VALIDATED = "validated"
        REJECTED = "rejected"
        READY = "ready"

    commit = models.OneToOneField(Commit, on_delete=models.PROTECT, related_name="release")
    adapter = models.ForeignKey(Adapter, on_delete=models.PROTECT, related_name="releases")
    number = models.PositiveIntegerField()
    status = models.CharField(max_length=10, choices=Status, default=Status.RECEIVED)
    findings = models.JSONField(default=list, blank=True)
    measurements = models.JSONField(default=dict, blank=True)
    statistics = models.JSONField(default=dict, blank=True)
    fingerprint = models.BinaryField(null=True, blank=True)
    samples = models.ForeignKey(Blob, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    vectors_digest = models.CharField(max_length=64, blank=True)
    vectors_size = models.PositiveBigIntegerField(default=0)
    factors_digest = models.CharField(max_length=64, blank=True)
    factors_size = models.PositiveBigIntegerField(default=0)
    profile_digest = models.CharField(max_length=64, blank=True, help_text="how query routers know it")
    profile_size = models.PositiveBigIntegerField(default=0)
    profile_encoder = models.CharField(
        max_length=100, blank=True, help_text="what made the embeddings of its profile"
    )
    created_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True, blank=True, help_text="when it became ready or rejected")
    yanked_at = models.DateTimeField(null=True, blank=True)
    quarantined_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True, help_text="why it was yanked or quarantined")

    class Meta:
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [
            Index(fields=["adapter", "-number"], condition=Q(status="ready"), name="newest_ready_release"),
            Index(fields=["status", "-settled_at"], name="releases_last_settled"),
            Index(
                fields=["quarantined_at"],
                condition=Q(quarantined_at__isnull=False),
                name="releases_in_quarantine",
            ),
        ]
        constraints: ClassVar = [
            UniqueConstraint(fields=["adapter", "number"], name="release_numbers_are_unique"),
            CheckConstraint(
                condition=Q(status__in=["received", "validated", "rejected", "ready"]),
                name="release_status_is_known",
            ),
            CheckConstraint(condition=~Q(status="rejected") | ~Q(findings=[]), name="a_rejection_says_why"),
            CheckConstraint(
                condition=~Q(status="ready") | (~Q(vectors_digest="") & ~Q(factors_digest="")),
                name="a_ready_release_has_vectors_and_factors",
            ),
            CheckConstraint(
                condition=Q(status__in=["rejected", "ready"], settled_at__isnull=False)
                | (Q(status__in=["received", "validated"]) & Q(settled_at=None)),
                name="a_settled_release_and_no_other_says_when",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.adapter} #{self.number}"

    @property
    def oid(self) -> str:
        return self.commit.oid

    @property
    def standing(self) -> str:
        """Its status, unless it was held back or withdrawn."""
        if self.quarantined_at:
            return "quarantined"
        return "withdrawn" if self.yanked_at else self.status

    @property
    def library(self) -> Library:
        """An adapter that has a release has a library."""
        if self.adapter.library is None:
            raise ValueError(f"{self} has no library")
        return self.adapter.library


class Gates(models.Model):
    """Gates of a release, kept in the index store together with its prototypes.

    An index version names those that its library preferred when it was planned (`hub.adapters.gates`); later
    ones change no older version.
    """

    class Source(models.TextChoices):
        """Whose rows they were trained on."""

        SAMPLES = "samples"
        BROUGHT = "brought"
        COLLECTOR = "collector"

    class Standing(models.TextChoices):
        ADMITTED = "admitted"
        HELD = "held"
        REFUSED = "refused"

    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="gates")
    number = models.PositiveIntegerField()
    source = models.CharField(max_length=10, choices=Source, default=Source.SAMPLES)
    standing = models.CharField(max_length=10, choices=Standing, default=Standing.ADMITTED)
    findings = models.JSONField(default=list, blank=True, help_text="why they were held back, if they were")
    rows_digest = models.CharField(max_length=64, blank=True, help_text="of the rows, where the hub had them")
    vectors_digest = models.CharField(max_length=64)
    vectors_size = models.PositiveBigIntegerField()
    rows = models.PositiveIntegerField(help_text="rows they were trained and tried on")
    curve = models.JSONField(help_text="[step, training loss, held-out loss] in nats per token")
    best_step = models.PositiveIntegerField()
    seconds = models.FloatField()
    peak_bytes = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["release", "-number"]
        verbose_name_plural = "gates"
        indexes: ClassVar = [Index(fields=["standing"], name="gates_that_wait")]
        constraints: ClassVar = [
            UniqueConstraint(fields=["release", "number"], name="gate_numbers_are_unique"),
            CheckConstraint(condition=~Q(vectors_digest=""), name="gates_are_in_the_store"),
            CheckConstraint(
                condition=Q(source__in=["samples", "brought", "collector"]), name="gates_have_a_known_source"
            ),
            CheckConstraint(
                condition=Q(standing__in=["admitted", "refused"]) | (Q(standing="held") & ~Q(findings=[])),
                name="gates_are_held_back_for_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"gates {self.number} of {self.release}"


class ReleaseEvent(models.Model):
    """The audit trail of a release. It settles once, whatever happens to the workers."""

    class What(models.TextChoices):
        RECEIVED = "received"
        VALIDATED = "validated"
        REJECTED = "rejected"
        READY = "ready"
        GATED = "gated"
        GATES_HELD = "gates held"
        GATES_LET_IN = "gates let in"
        GATES_REFUSED = "gates refused"
        ROWS_DELETED = "rows deleted"
        YANKED = "yanked"
        QUARANTINED = "quarantined"
        RESTORED = "restored"

    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="events")
    what = models.CharField(max_length=16, choices=What)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    reason = models.TextField(blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            UniqueConstraint(
                fields=["release"], condition=Q(what__in=["rejected", "ready"]), name="a_release_settles_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.release_id} {self.what}"
