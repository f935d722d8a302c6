"""Experts are introduced anew on the record: by whom they lack it, and what the next index version takes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client

from hub.adapters import introductions
from hub.adapters.introductions import Introduction, Wanted
from hub.adapters.models import Release
from hub.indexes import queries
from hub.indexes import services as indexes
from hub.indexes.models import IndexMember, IndexVersion
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.library import services as libraries
from hub.library.models import Library
from tests.hub import making

pytestmark = pytest.mark.django_db
NAME = f"folder:{'e' * 64}"
OWN = {"source": "/encoders/small", "revision": None, "name": NAME}


def introduced(place: Library, release: Release, digest: str = "p" * 64, encoder: str = "base:1") -> None:
    """What a worker does for one release."""
    introductions.ask(place)
    claim = making.take(JobKind.INTRODUCE)
    introductions.record(claim, release.pk, Introduction(digest, 7, encoder))
    assert introductions.settle(claim, place.pk, wanted=Wanted.by(place), name=encoder, encoder=None)
    jobs.finish(claim)


def said(*arguments: str) -> str:
    out = io.StringIO()
    call_command("introduce", *arguments, stdout=out)
    return out.getvalue()


def test_the_next_version_takes_the_new_introduction_and_older_ones_keep_theirs(client: Client) -> None:
    place = making.library()
    release = making.ready(making.user(), place)
    one = making.publish(place)
    introduced(place, release)
    two = making.publish(place)

    assert [queries.members(version)[0].profile_digest for version in (one, two)] == ["", "p" * 64]
    assert indexes.total_size(two) == indexes.total_size(one) + 7
    timeline = client.get(f"/libraries/{place.slug}/versions").content.decode()
    (change,) = client.get(f"/api/v1/libraries/{place.slug}/diff?from=1&to=2").json()["changed"]
    assert "release 1, introduced anew" in timeline
    assert (change["old"], change["old_gates"], change["introduced_anew"]) == (change["new"], None, True)


def test_the_same_introduction_again_makes_no_version() -> None:
    place = making.library()
    release = making.ready(making.user(), place)
    introduced(place, release)
    making.publish(place)
    introduced(place, release)

    assert indexes.plan_version(making.take(JobKind.INDEX), place.pk) is None


def test_a_version_that_was_planned_is_written_with_what_was_there_then() -> None:
    place = making.library()
    release = making.ready(making.user(), place)
    introduced(place, release)
    claim = making.take(JobKind.INDEX)
    making.planned(claim, place)
    introduced(place, release, "q" * 64)

    again = making.planned(claim, place)

    assert queries.members(again)[0].profile_digest == "p" * 64
    indexes.record_published(claim, again.pk, "1" * 64, 30)
    assert Job.objects.filter(kind=JobKind.INDEX, state="queued").exists()


def test_an_encoder_is_in_effect_when_everybody_is_introduced_by_it() -> None:
    place, owner = making.library(), making.user()
    first, second = making.ready(owner, place, "a"), making.ready(owner, place, "b")
    making.publish(place)
    place = libraries.change_encoder(library=place, source="/encoders/small")
    claim, wanted = making.take(JobKind.INTRODUCE), Wanted.by(place)
    introductions.record(claim, first.pk, Introduction("p" * 64, 7, NAME))

    too_soon = introductions.settle(claim, place.pk, wanted=wanted, name=NAME, encoder=OWN)
    introductions.record(claim, second.pk, Introduction("q" * 64, 7, NAME))
    done = introductions.settle(claim, place.pk, wanted=wanted, name=NAME, encoder=OWN)
    version = making.publish(place)

    assert (too_soon, done) == (False, True)
    assert (version.encoder, place.encoder, place.encoder_settled) == (OWN, OWN, True)
    assert not introductions.lacking(place).exists()


def test_an_encoder_that_nobody_asks_for_any_more_does_not_come_into_effect() -> None:
    place = making.library()
    asked = libraries.change_encoder(library=place, source="/encoders/small")
    claim, wanted = making.take(JobKind.INTRODUCE), Wanted.by(asked)
    libraries.change_encoder(library=place, source="/encoders/other")

    assert introductions.settle(claim, place.pk, wanted=wanted, name=NAME, encoder=OWN)

    place.refresh_from_db()
    assert (place.encoder, place.encoder_settled) == (None, False)
    assert Job.objects.filter(kind=JobKind.INTRODUCE, state="queued").exists()


def test_who_became_ready_by_an_encoder_that_is_not_in_effect_any_more_is_introduced_again() -> None:
    place = making.library()
    release = making.upload(making.user(), place)
    Library.objects.filter(pk=place.pk).update(encoder_source="/encoders/small", encoder=OWN)

    making.accept(release, profile=Introduction("p" * 64, 7, "base:1"))

    assert Job.objects.filter(kind=JobKind.INTRODUCE, state="queued").exists()


def test_a_dry_run_says_who_lacks_what_and_asks_for_nothing() -> None:
    place, owner = making.library(), making.user()
    introduced(place, making.ready(owner, place, "a"))
    making.ready(owner, place, "b")
    before = Job.objects.count()

    dry = said(place.slug, "--dry-run")

    assert "1 introduced by base:1" in dry
    assert "1 introduced by nothing that is on record" in dry
    assert "1 lack an introduction by the base" in dry
    assert Job.objects.count() == before


def test_the_command_asks_one_job_however_often_and_changes_the_encoder(tmp_path: Path) -> None:
    place = making.library()
    making.ready(making.user(), place)

    said(place.slug)
    twice = said(place.slug, "--encoder", str(tmp_path))

    place.refresh_from_db()
    assert Job.objects.filter(kind=JobKind.INTRODUCE).count() == 1
    assert place.encoder_source == str(tmp_path)
    assert f"1 lack an introduction by {tmp_path}" in twice
    said(place.slug, "--encoder", "base")
    place.refresh_from_db()
    assert (place.encoder_source, place.encoder_settled) == ("", False)


def test_a_library_is_founded_with_an_encoder_of_its_own(tmp_path: Path) -> None:
    call_command("create_library", "tiny", "org/base", "--encoder", str(tmp_path), stdout=io.StringIO())
    place = Library.objects.get()
    assert not Job.objects.filter(kind=JobKind.INTRODUCE).exists()

    claim = making.take(JobKind.INSPECT_BASE)
    libraries.record_base(claim, place.pk, {"target_modules": []}, digest="b" * 64)

    assert Job.objects.filter(kind=JobKind.INTRODUCE).exists()
    assert not IndexVersion.objects.exists()
    assert not IndexMember.objects.exists()
