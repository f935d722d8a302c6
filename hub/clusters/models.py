"""Which experts are alike: clusters, neighbours and a map of a version, and one adapter per cluster."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, Q, UniqueConstraint
from django.db.models.functions import Now

from hub.adapters.models import Release
from hub.indexes.models import IndexVersion
from hub.library.models import Library


class FixedCount(models.Model):
    """How many clusters a maintainer wants in a library; without one, as many as are clear."""

    library = models.OneToOneField(Library, on_delete=models.CASCADE, related_name="fixed_count")
    count = models.PositiveIntegerField()

    class Meta:
        constraints: ClassVar = [
            CheckConstraint(condition=Q(count__gte=1), name="there_is_at_least_one_cluster")
        ]

    def __str__(self) -> str:
        return f"{self.count} clusters of {self.library}"


class Clustering(models.Model):
    """What was found about the experts of one index version. Their cosines are an object in the index
    store.
    """

    version = models.OneToOneField(IndexVersion, on_delete=models.PROTECT, related_name="clustering")
    count = models.PositiveIntegerField()
    silhouette = models.FloatField(help_text="how clear the clusters are: 1 perfectly, 0 not at all")
    copies = models.JSONField(help_text="groups of releases (ids) that are the same expert again")
    matrix = models.CharField(max_length=64)
    seconds = models.FloatField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["-version__number"]
        constraints: ClassVar = [
            CheckConstraint(condition=~Q(matrix=""), name="cosines_are_in_the_store"),
        ]

    def __str__(self) -> str:
        return f"{self.count} clusters of {self.version}"


class Placement(models.Model):
    """One expert among the others: its cluster, its place on the map and its nearest neighbours."""

    clustering = models.ForeignKey(Clustering, on_delete=models.CASCADE, related_name="placements")
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="placements")
    cluster = models.PositiveIntegerField()
    x = models.FloatField()
    y = models.FloatField()
    neighbours = models.JSONField(help_text="[release id, cosine], the most alike first")

    class Meta:
        ordering: ClassVar = ["clustering", "cluster", "pk"]
        constraints: ClassVar = [
            UniqueConstraint(fields=["clustering", "release"], name="an_expert_has_one_place"),
        ]

    def __str__(self) -> str:
        return f"{self.release} in cluster {self.cluster}"


class SharedSamples(models.Model):
    """That a contributor agreed: an adapter of a whole cluster may be trained on this release's sample
    rows.
    """

    release = models.OneToOneField(Release, on_delete=models.CASCADE, related_name="shared_samples")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "shared samples"

    def __str__(self) -> str:
        return f"sample rows of {self.release}"


class ClusterTraining(models.Model):
    """One adapter for one cluster: asked for by a maintainer, trained by a worker, then an upload."""

    version = models.ForeignKey(IndexVersion, on_delete=models.PROTECT, related_name="cluster_trainings")
    cluster = models.PositiveIntegerField()
    members = models.ManyToManyField(Release, related_name="cluster_trainings")
    library = models.ForeignKey(Library, on_delete=models.PROTECT, related_name="cluster_trainings")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    release = models.OneToOneField(
        Release, on_delete=models.PROTECT, null=True, blank=True, related_name="trained_for"
    )
    note = models.TextField(blank=True, help_text="why there is no release")
    rows = models.PositiveIntegerField(default=0)
    curve = models.JSONField(default=list, help_text="[step, training loss, held-out loss] in nats per token")
    seconds = models.FloatField(default=0.0)
    peak_bytes = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["version", "cluster"]
        constraints: ClassVar = [
            UniqueConstraint(fields=["version", "cluster"], name="a_cluster_is_trained_once"),
            CheckConstraint(
                condition=Q(settled_at=None, release=None)
                | (Q(settled_at__isnull=False) & (~Q(release=None) | ~Q(note=""))),
                name="a_settled_training_has_a_release_or_says_why",
            ),
        ]

    def __str__(self) -> str:
        return f"cluster {self.cluster} of {self.version}"

    @property
    def adapter_name(self) -> str:
        """What its adapter is called."""
        return f"mbc-{self.version.number}-{self.cluster}"
