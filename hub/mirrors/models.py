"""Adapters that come from other hubs: what is followed where, and where a release came from."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, Q, UniqueConstraint
from django.db.models.functions import Now

from hub.adapters.models import Release
from hub.library.models import Library


class Mirror(models.Model):
    """A repository of another hub that becomes an adapter here: once, or again with each new revision."""

    library = models.ForeignKey(Library, on_delete=models.PROTECT, related_name="mirrors")
    endpoint = models.CharField(max_length=200, help_text="the other hub, for example https://huggingface.co")
    repo = models.CharField(max_length=200, help_text="owner/name there")
    revision = models.CharField(max_length=200, default="main", help_text="a branch, a tag or a commit")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="mirrors",
        help_text="whose it is here",
    )
    name = models.CharField(max_length=96, help_text="what it is called here")
    follow = models.BooleanField(default=False, help_text="look for new revisions")
    created_at = models.DateTimeField(db_default=Now())
    looked_at = models.DateTimeField(null=True, blank=True)
    commit = models.CharField(max_length=40, blank=True, help_text="the newest commit that was looked at")
    note = models.TextField(blank=True, help_text="why the newest look brought no release")

    class Meta:
        ordering: ClassVar = ["library", "repo", "pk"]
        constraints: ClassVar = [
            UniqueConstraint(
                fields=["library", "endpoint", "repo", "revision"], name="a_repository_is_mirrored_once"
            ),
            CheckConstraint(condition=~Q(repo=""), name="a_mirror_names_a_repository"),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint}/{self.repo}@{self.revision}"


class Feed(models.Model):
    """A list of another hub, every repository of which is mirrored and followed."""

    library = models.ForeignKey(Library, on_delete=models.PROTECT, related_name="feeds")
    endpoint = models.CharField(max_length=200)
    tag = models.CharField(
        max_length=200,
        help_text="what the repositories are tagged with there, for example fletch-library:tales",
    )
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="feeds")
    created_at = models.DateTimeField(db_default=Now())
    looked_at = models.DateTimeField(null=True, blank=True)
    count = models.PositiveIntegerField(default=0, help_text="how many repositories the newest look saw")
    note = models.TextField(blank=True, help_text="what of it could not be mirrored, and why")

    class Meta:
        ordering: ClassVar = ["library", "endpoint", "tag"]
        constraints: ClassVar = [
            UniqueConstraint(fields=["library", "endpoint", "tag"], name="a_list_is_followed_once")
        ]

    def __str__(self) -> str:
        return f"{self.tag} at {self.endpoint}"


class Origin(models.Model):
    """Where a release that was made elsewhere came from."""

    release = models.OneToOneField(Release, on_delete=models.CASCADE, related_name="origin")
    mirror = models.ForeignKey(Mirror, on_delete=models.PROTECT, related_name="origins")
    commit = models.CharField(max_length=40)
    licence = models.CharField(max_length=100, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["pk"]

    def __str__(self) -> str:
        return f"{self.release} from {self.mirror} at {self.commit[:12]}"
