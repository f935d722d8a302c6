"""Bytes on their way into a commit."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import UniqueConstraint
from django.db.models.functions import Now

from hub.blobs.models import Blob


class Brought(models.Model):
    """Somebody sent these bytes and may therefore name them in a commit: knowing a digest is not having the
    bytes.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints: ClassVar = [UniqueConstraint(fields=["user", "blob"], name="brought_once")]

    def __str__(self) -> str:
        return f"{self.blob_id} of {self.user_id}"


class Part(models.Model):
    """One part of a large file that is sent in parts."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    sha256 = models.CharField(max_length=64, help_text="of the whole file")
    number = models.PositiveIntegerField()
    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="+")

    class Meta:
        ordering: ClassVar = ["number"]
        constraints: ClassVar = [
            UniqueConstraint(fields=["user", "sha256", "number"], name="a_part_is_sent_once")
        ]

    def __str__(self) -> str:
        return f"part {self.number} of {self.sha256}"


class Xorb(models.Model):
    """A bundle of chunks that a Xet client sent; kept while the client may count on it."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    epoch = models.PositiveIntegerField()
    name = models.CharField(max_length=64, help_text="what the client calls it")
    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            UniqueConstraint(fields=["user", "epoch", "name"], name="a_xorb_is_sent_once")
        ]

    def __str__(self) -> str:
        return f"xorb {self.name} of {self.user_id}"
