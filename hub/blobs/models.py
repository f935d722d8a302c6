"""Bytes, named by their sha256 and stored once."""

from typing import ClassVar

from django.db import models
from django.db.models import CheckConstraint, Q
from django.db.models.functions import Now


class Blob(models.Model):
    """That these bytes are durable in the blob storage. Written after them, removed before them."""

    sha256 = models.CharField(primary_key=True, max_length=64)
    size = models.BigIntegerField()
    git_oid = models.CharField(
        max_length=40, help_text="sha1 of 'blob <size>\\0' and the bytes, as git names them"
    )
    created_at = models.DateTimeField(db_default=Now())
    stored_at = models.DateTimeField(
        db_default=Now(),
        db_index=True,
        help_text="when these bytes were last brought to us; garbage collection waits from here",
    )

    class Meta:
        constraints: ClassVar = [
            CheckConstraint(condition=Q(sha256__regex=r"^[0-9a-f]{64}$"), name="blob_is_named_by_its_sha256"),
            CheckConstraint(condition=Q(size__gte=0), name="blob_size_is_not_negative"),
        ]

    def __str__(self) -> str:
        return self.sha256
