"""Gates come to a release later: in a version of their own, and no older version changes."""

import pytest
from django.test import Client

from hub.adapters import services as adapters
from hub.indexes import queries
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.library import services as libraries
from hub.pages.pipeline import course_of
from tests.hub import making

pytestmark = pytest.mark.django_db(transaction=True)


def test_gates_make_a_version_and_change_no_older_one() -> None:
    place = making.library()
    release = making.ready(making.user(), place)
    plain = making.publish(place)
    gates = making.gate(release)
    gated = making.publish(place)

    (before,), (after,) = queries.members(plain), queries.members(gated)

    assert (before.vectors_digest, before.vectors_size) == (release.vectors_digest, release.vectors_size)
    assert (after.vectors_digest, after.vectors_size) == (gates.vectors_digest, gates.vectors_size)
    assert queries.diff(plain, gated).changed == [(before, after)]
    assert queries.experts(plain) == queries.experts(gated) == [release]


def test_newer_gates_take_the_place_of_older_ones() -> None:
    place = making.library()
    release = making.ready(making.user(), place)
    making.publish(place)
    making.gate(release)
    making.publish(place)
    second = making.gate(release)

    (member,) = queries.members(making.publish(place))

    assert member.gates == second
    assert list(release.memberships.order_by("since").values_list("since", "until")) == [
        (1, 2),
        (2, 3),
        (3, None),
    ]


def test_gates_that_are_there_are_not_recorded_again() -> None:
    place = making.library()
    release = making.ready(making.user(), place)
    gates = making.gate(release)
    jobs.enqueue(JobKind.GATES, release_id=release.pk)

    recorded = adapters.record_gates(
        making.take(JobKind.GATES),
        release.pk,
        vectors_digest=gates.vectors_digest,
        vectors_size=15,
        rows=40,
        curve=[],
        best_step=10,
        seconds=2.0,
        peak_bytes=1,
    )

    assert not recorded
    assert release.gates.count() == 1


def test_an_expert_is_in_the_index_since_its_first_version_whatever_gates_came() -> None:
    place = making.library()
    release = making.ready(making.user(), place)
    making.publish(place)
    making.gate(release)
    making.publish(place)
    release.refresh_from_db()

    names = [step.name for step in course_of(release).steps]

    assert "In the routing index since version 1" in names


def test_pages_and_api_say_that_only_the_gates_are_new(client: Client) -> None:
    place = making.library()
    release = making.ready(making.user(), place)
    making.publish(place)
    making.gate(release)
    making.publish(place)

    timeline = client.get(f"/libraries/{place.slug}/versions").content.decode()
    diff = client.get(f"/api/v1/libraries/{place.slug}/diff?from=1&to=2").json()

    assert "release 1, with new gates" in timeline
    assert diff["changed"] == [
        {
            "adapter": release.adapter.full_name,
            "old": release.oid,
            "new": release.oid,
            "old_gates": None,
            "new_gates": 1,
        }
    ]


def test_only_ready_experts_with_rows_and_without_gates_are_asked_for() -> None:
    place, owner = making.library(), making.user()
    making.ready(owner, place, "without-rows")
    assert adapters.ask_for_gates(place) == 0
    assert not Job.objects.filter(kind=JobKind.GATES).exists()


def test_a_library_says_whether_gates_are_trained() -> None:
    place = making.library()

    libraries.change_gate_training(library=place, wanted=True)

    place.refresh_from_db()
    assert place.train_gates
