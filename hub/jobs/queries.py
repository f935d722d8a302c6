"""Looking at work."""

from typing import Unpack

from django.db.models import QuerySet

from hub.jobs.claims import Subject
from hub.jobs.models import Job, JobKind
from hub.jobs.services import key_of


def about(**ids: Unpack[Subject]) -> QuerySet[Job]:
    """All jobs about one subject, oldest first."""
    return Job.objects.filter(key__in=[key_of(kind, ids) for kind in JobKind]).order_by("pk")
