"""Index versions: numbered without a gap, never changed, promoted on the record."""

import pytest
from django.db import DatabaseError, transaction

from hub.adapters import services as adapters
from hub.errors import Conflict
from hub.indexes import queries
from hub.indexes import services as indexes
from hub.indexes.models import IndexVersion, Promotion
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from tests.hub import making

pytestmark = pytest.mark.django_db


def test_an_upload_becomes_an_expert_of_the_next_version_and_is_served() -> None:
    place = making.library()
    release = making.ready(making.user(), place)

    version = making.publish(place)

    assert [member.pk for member in queries.experts(version)] == [release.pk]
    assert place.current == version
    assert Promotion.objects.get().reason == "published"


def test_one_more_expert_writes_one_membership_and_changes_no_older_version() -> None:
    place, owner = making.library(), making.user()
    first = making.ready(owner, place, "b")
    one = making.publish(place)
    second = making.ready(owner, place, "a")
    two = making.publish(place)

    assert [member.pk for member in queries.experts(one)] == [first.pk]
    assert [member.pk for member in queries.experts(two)] == [second.pk, first.pk]
    assert place.memberships.count() == 2


def test_a_newer_release_replaces_the_older_one_of_the_same_adapter() -> None:
    place, owner = making.library(), making.user()
    old = making.ready(owner, place)
    one = making.publish(place)
    new = making.ready(owner, place, files={**making.PLAIN, "README.md": b"better"})
    two = making.publish(place)

    ((before, after),) = queries.diff(one, two).changed
    assert (before.release, after.release) == (old, new)
    assert two.expert_count == 1


def test_nothing_is_planned_where_nothing_changed() -> None:
    place = making.library()
    making.ready(making.user(), place)
    making.publish(place)
    jobs.enqueue(JobKind.INDEX, library_id=place.pk)

    assert indexes.plan_version(making.take(JobKind.INDEX), place.pk) is None


def test_ten_uploads_that_are_ready_together_plan_one_version() -> None:
    place, owner = making.library(), making.user()
    releases = [making.upload(owner, place, f"a{number}") for number in range(10)]
    for release in releases:
        claim = making.take(JobKind.VALIDATE)
        adapters.record_report(claim, release.pk, [])
        jobs.finish(claim)
    for release in releases:
        claim = making.take(JobKind.VECTORS)
        adapters.record_vectors(
            claim,
            release.pk,
            vectors_digest="1" * 64,
            vectors_size=1,
            factors_digest="2" * 64,
            factors_size=1,
            statistics={},
            fingerprint=b"",
        )
        jobs.finish(claim)

    version = making.publish(place)

    assert version.expert_count == 10
    assert IndexVersion.objects.count() == 1


def test_a_plan_whose_worker_died_is_the_plan_of_the_next_worker() -> None:
    place, owner = making.library(), making.user()
    making.ready(owner, place, "a")
    claim = making.take(JobKind.INDEX)
    planned = making.planned(claim, place)
    jobs.give_back(claim)
    release = making.upload(owner, place, "b")
    claim = making.take(JobKind.INDEX)

    again = making.planned(claim, place)

    assert again == planned
    assert release.pk not in [member.pk for member in queries.experts(again)]


def test_who_became_ready_while_a_version_was_built_gets_into_the_next_one() -> None:
    place, owner = making.library(), making.user()
    making.ready(owner, place, "a")
    claim = making.take(JobKind.INDEX)
    planned = making.planned(claim, place)
    jobs.fail(claim, "broken for good")
    late = making.upload(owner, place, "b")
    making.accept(late)
    claim = making.take(JobKind.INDEX)
    assert making.planned(claim, place) == planned
    indexes.record_published(claim, planned.pk, "1" * 64, 1)
    jobs.finish(claim)

    making.finish(JobKind.PROMOTE)
    second = making.publish(place)

    assert [member.pk for member in queries.experts(second)][-1] == late.pk


def test_a_published_version_refuses_to_be_saved() -> None:
    place = making.library()
    making.ready(making.user(), place)
    version = making.publish(place)
    version.expert_count = 7

    with pytest.raises(Conflict, match="never changes"):
        version.save()


def test_the_database_itself_refuses_to_change_a_published_version() -> None:
    place = making.library()
    making.ready(making.user(), place)
    version = making.publish(place)

    with pytest.raises(DatabaseError, match="never changes"), transaction.atomic():
        IndexVersion.objects.filter(pk=version.pk).update(manifest="0" * 64)


def test_publishing_the_same_number_twice_with_other_bytes_is_refused() -> None:
    place = making.library()
    making.ready(making.user(), place)
    claim = making.take(JobKind.INDEX)
    version = making.planned(claim, place)

    assert indexes.record_published(claim, version.pk, "1" * 64, 1)
    assert not indexes.record_published(claim, version.pk, "1" * 64, 1)
    with pytest.raises(Conflict):
        indexes.record_published(claim, version.pk, "2" * 64, 1)


def test_quarantine_makes_a_version_without_the_expert_and_forbids_the_old_one() -> None:
    place, owner = making.library(), making.user()
    bad = making.ready(owner, place, "bad")
    making.ready(owner, place, "good")
    one = making.publish(place)
    adapters.quarantine(release=bad, by=None, reason="a trigger was found")

    two = making.publish(place)

    assert place.current == two
    assert bad not in queries.experts(two)
    with pytest.raises(Conflict, match="quarantine"):
        indexes.promote(library=place, number=one.number, by=None)


def test_quarantine_names_the_versions_that_are_not_to_be_served_any_more() -> None:
    place, owner = making.library(), making.user()
    making.ready(owner, place, "good")
    making.publish(place)
    bad = making.ready(owner, place, "bad")
    making.publish(place)
    making.ready(owner, place, "another")
    making.publish(place)

    adapters.quarantine(release=bad, by=None, reason="a trigger was found")

    assert Job.objects.filter(kind=JobKind.PROMOTE, state=Job.State.QUEUED).exists()
    assert queries.held_back_spans(place) == [(bad.adapter.full_name, 2, 4)]
    making.publish(place)
    making.ready(owner, place, "third")
    making.publish(place)
    assert queries.held_back_spans(place) == [(bad.adapter.full_name, 2, 4)]
    adapters.restore(release=bad, by=None)
    assert queries.held_back_spans(place) == []


def test_quarantine_takes_effect_where_versions_are_not_promoted_by_themselves() -> None:
    place, owner = making.library(auto_promote=False), making.user()
    bad = making.ready(owner, place, "bad")
    making.ready(owner, place, "good")
    one = making.publish(place)
    indexes.promote(library=place, number=one.number, by=owner)
    making.finish(JobKind.PROMOTE)
    adapters.quarantine(release=bad, by=None, reason="a trigger was found")

    two = making.publish(place)

    assert place.current == two


def test_a_yanked_release_leaves_the_next_version_and_the_older_release_takes_its_place() -> None:
    place, owner = making.library(), making.user()
    old = making.ready(owner, place)
    making.publish(place)
    new = making.ready(owner, place, files={"adapter_config.json": b"{}"})
    making.publish(place)
    adapters.yank(release=new, by=owner, reason="a mistake")

    version = making.publish(place)

    assert queries.experts(version) == [old]


def test_after_a_rollback_new_versions_wait_until_somebody_promotes_one() -> None:
    place, owner = making.library(), making.user()
    making.ready(owner, place, "a")
    making.publish(place)
    making.ready(owner, place, "b")
    making.publish(place)
    indexes.roll_back(library=place, by=owner, reason="worse answers")
    making.finish(JobKind.PROMOTE)
    making.ready(owner, place, "c")

    three = making.publish(place)

    assert place.current is not None
    assert place.current.number == 1
    assert three.number == 3
    assert [(row.version.number, row.by) for row in Promotion.objects.order_by("pk")] == [
        (1, None),
        (2, None),
        (1, owner),
    ]


def test_private_adapters_are_never_members() -> None:
    place, owner = making.library(), making.user()
    release = making.upload(owner, place, private=True)
    making.accept(release)

    assert indexes.plan_version(making.take(JobKind.INDEX), place.pk) is None
