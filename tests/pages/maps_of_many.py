"""A map with many experts, written straight into the database; nothing of them can be served."""

import hashlib
import math

from django.utils import timezone

from hub.adapters.models import Adapter, Commit, Release
from hub.clusters.models import Clustering, Placement
from tests.pages.content import Content

CLUSTERS = 20


def placements(made: Content, count: int) -> Clustering:
    owner, library, now = made.contributor, made.library, timezone.now()
    assert library.current is not None
    names = [f"expert-{number}" for number in range(count)]
    adapters = Adapter.objects.bulk_create(
        Adapter(owner=owner, library=library, name=name, name_key=name) for name in names
    )
    commits = Commit.objects.bulk_create(
        Commit(adapter=one, oid=hashlib.sha1(one.name.encode()).hexdigest(), tree_oid="0" * 40, author=owner, message="", created_at=now)
        for one in adapters
    )  # fmt: skip
    releases = Release.objects.bulk_create(
        Release(commit=one, adapter=one.adapter, number=1, status="ready", settled_at=now, vectors_digest="d" * 64, factors_digest="d" * 64)
        for one in commits
    )  # fmt: skip
    Clustering.objects.filter(version__library=library).delete()
    found = Clustering.objects.create(
        version=library.current, count=CLUSTERS, silhouette=0.3, copies=[], matrix="d" * 64, seconds=1.0
    )
    Placement.objects.bulk_create(
        Placement(clustering=found, release=one, cluster=number % CLUSTERS, x=math.cos(number) * (number % 17), y=math.sin(number * 1.7) * (number % 13), neighbours=[[releases[number - 1].pk, 0.5]])
        for number, one in enumerate(releases)
    )  # fmt: skip
    return found
