"""Gates come to a release later: in a version of their own, and no older version changes."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client

from hub.accounts import services as tokens
from hub.accounts.models import Scope, User
from hub.adapters import gates
from hub.adapters import services as adapters
from hub.adapters.gates import Candidate
from hub.errors import Conflict, Invalid
from hub.indexes import queries
from hub.indexes import services as indexes
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobKind
from hub.library import rows
from hub.library import services as libraries
from hub.library.models import CollectorRows, Library
from hub.operations import garbage
from hub.pages.pipeline import course_of
from tests.hub import making

pytestmark = pytest.mark.django_db


def test_gates_make_a_version_and_change_no_older_one() -> None:
    place = making.library()
    release = making.ready(making.user(), place)
    plain = making.publish(place)
    gate = making.gate(release)
    gated = making.publish(place)

    (before,), (after,) = queries.members(plain), queries.members(gated)

    assert (before.vectors_digest, before.vectors_size) == (release.vectors_digest, release.vectors_size)
    assert (after.vectors_digest, after.vectors_size) == (gate.vectors_digest, gate.vectors_size)
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
    known = making.gate(release)
    jobs.enqueue(JobKind.GATES, release_id=release.pk)
    again = Candidate("samples", known.vectors_digest, 15, 40, [], 10, 2.0, 1)

    assert not gates.record(making.take(JobKind.GATES), release.pk, again)
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
            "introduced_anew": False,
        }
    ]


def test_only_ready_experts_with_rows_and_without_gates_are_asked_for() -> None:
    place, owner = making.library(train_gates=True), making.user()
    making.ready(owner, place, "without-rows")
    assert gates.ask_for_all(place) == 0
    assert not Job.objects.filter(kind=JobKind.GATES).exists()

    making.ready(owner, place, "with-gates", {**making.PLAIN, **dict.fromkeys(gates.GATE_FILES, b"{}")})
    assert gates.ask_for_all(place) == 1


def test_brought_gates_are_taken_over_where_none_are_trained() -> None:
    place = making.library()
    release = making.ready(
        making.user(), place, "a", {**making.PLAIN, **dict.fromkeys(gates.GATE_FILES, b"{}")}
    )

    assert gates.lacking_sources(release) == ["brought"]
    making.take(JobKind.GATES)


def test_gates_of_the_preferred_source_are_used_whichever_came_last() -> None:
    place = making.library()
    release = making.ready(making.user(), place)
    collector = making.gate(release, source="collector")
    brought = making.gate(release, source="brought")

    assert gates.in_use(release) == brought
    libraries.change_gate_sources(library=place, sources=["collector", "brought"])
    release.refresh_from_db()
    assert gates.in_use(release) == collector
    libraries.change_gate_sources(library=place, sources=["brought", "samples"])
    release.refresh_from_db()
    (member,) = queries.members(making.publish(place))

    assert gates.in_use(release) == brought == member.gates
    libraries.change_gate_sources(library=place, sources=[])
    release.refresh_from_db()
    assert gates.in_use(release) is None


@pytest.mark.parametrize("sources", [["mine"], ["samples", "samples"]])
def test_unknown_sources_are_refused(sources: list[str]) -> None:
    with pytest.raises(Invalid):
        libraries.change_gate_sources(library=making.library(), sources=sources)


def test_gates_that_are_held_back_are_not_used_until_a_maintainer_lets_them_in() -> None:
    place, maintainer = making.library(), making.user("mara")
    release = making.ready(making.user(), place)
    making.publish(place)
    held = making.gate(release, source="brought", held=True)

    assert gates.in_use(release) is None
    assert indexes.plan_version(_index_claim(place), place.pk) is None

    gates.let_in(gates=held, by=maintainer, reason="it is about everything")

    assert gates.in_use(release) == held
    event = release.events.get(what="gates let in")
    assert (event.by, event.reason) == (maintainer, "gates 1 (brought). it is about everything")
    with pytest.raises(Conflict):
        gates.let_in(gates=held, by=maintainer)


def _index_claim(place: Library) -> Claim:
    jobs.enqueue(JobKind.INDEX, library_id=place.pk)
    return making.take(JobKind.INDEX)


def test_refused_gates_leave_the_next_version() -> None:
    place = making.library()
    release = making.ready(making.user(), place)
    first, second = making.gate(release), making.gate(release)
    making.publish(place)

    gates.refuse(gates=second, by=None, reason="noise")

    (member,) = queries.members(making.publish(place))
    assert member.gates == first
    with pytest.raises(Invalid):
        gates.refuse(gates=first, by=None, reason=" ")


def test_only_maintainers_decide_about_gates_and_everybody_sees_why(client: Client) -> None:
    maintainer, owner = making.user("mara"), making.user()
    place = making.library(maintainer=maintainer)
    release = making.ready(owner, place)
    making.gate(release, source="brought", held=True)
    address = f"/api/v1/adapters/ada/poetry/releases/{release.oid}/gates"

    def decide(user: User, what: str) -> int:
        _token, secret = tokens.issue_token(user=user, name=what, scopes=[Scope.ADMIN])
        return client.post(
            f"{address}/1/{what}",
            {"reason": "seen"},
            content_type="application/json",
            headers={"Authorization": f"Bearer {secret}"},
        ).status_code

    (seen,) = client.get(address).json()
    assert (seen["source"], seen["standing"], seen["in_use"]) == ("brought", "held", False)
    assert seen["findings"][0]["found"] == "0.97 of neutral text"
    assert decide(owner, "let-in") == 403
    assert decide(maintainer, "let-in") == 200
    assert client.get(address).json()[0]["in_use"]
    assert decide(maintainer, "refuse") == 200
    assert not client.get(address).json()[0]["in_use"]


def test_sample_rows_are_forgotten_with_their_bytes_and_the_gates_stay(tmp_path: Path) -> None:
    place, owner = making.library(), making.user()
    rows_file = tmp_path / "rows.jsonl"
    rows_file.write_bytes(b'{"prompt": "a", "completion": "b"}\n')
    release = making.upload(owner, place, samples=rows_file)
    making.accept(release)
    release.refresh_from_db()
    kept = making.gate(release)
    blob = release.samples_id

    assert gates.delete_samples(release=release, by=owner)

    release.refresh_from_db()
    assert release.samples is None
    assert release.events.filter(what="rows deleted", by=owner).count() == 1
    assert gates.in_use(release) == kept
    assert f"blob {blob}" in {item.what for item in garbage.find(timedelta(0))}
    assert not gates.delete_samples(release=release, by=owner)


def test_the_collectors_rows_are_the_maintainers_alone(client: Client, tmp_path: Path) -> None:
    maintainer, owner = making.user("mara"), making.user()
    place = making.library(maintainer=maintainer, train_gates=True)
    libraries.change_gate_sources(library=place, sources=["collector"])
    making.ready(owner, place)
    secrets = {
        user: tokens.issue_token(user=user, name="x", scopes=[Scope.ADMIN])[1] for user in (maintainer, owner)
    }
    address = f"/api/v1/libraries/{place.slug}/rows"

    def send(user: User) -> int:
        body = {"rows": making.form_file("rows.jsonl", b'{"prompt": "a", "completion": "b"}\n\n')}
        return client.post(address, body, headers={"Authorization": f"Bearer {secrets[user]}"}).status_code

    assert client.get(address).status_code == 401
    assert send(owner) == 403
    assert send(maintainer) == 200
    told = client.get(address, headers={"Authorization": f"Bearer {secrets[maintainer]}"}).json()
    assert told["lines"] == 1
    assert "prompt" not in str(told)
    making.take(JobKind.GATES)
    blob = CollectorRows.objects.get().blob_id
    assert f"blob {blob}" not in {item.what for item in garbage.find(timedelta(0))}
    client.delete(address, headers={"Authorization": f"Bearer {secrets[maintainer]}"})
    assert rows.current(place) is None
    assert f"blob {blob}" in {item.what for item in garbage.find(timedelta(0))}


def test_new_rows_take_the_place_of_old_ones(tmp_path: Path) -> None:
    place, file = making.library(), tmp_path / "rows.jsonl"
    file.write_bytes(b"{}\n")
    first = rows.keep(library=place, file=file, by=None)
    file.write_bytes(b"{}\n")
    assert rows.keep(library=place, file=file, by=None) == first
    file.write_bytes(b"{}\n{}\n")

    second = rows.keep(library=place, file=file, by=None)

    assert rows.current(place) == second
    first.refresh_from_db()
    assert first.blob is None
    file.write_bytes(b"\n")
    with pytest.raises(Invalid):
        rows.keep(library=place, file=file, by=None)


def test_an_implausible_newcomer_begins_in_quarantine_and_a_maintainer_lets_it_in() -> None:
    place, maintainer = making.library(), making.user("mara")
    release = making.upload(making.user(), place)
    making.accept(release, doubts=[making.DOUBT])
    release.refresh_from_db()

    assert release.quarantined_at is not None
    assert release.reason == "0.97 of neutral text, expected at most 0.30"
    assert release.findings == [making.DOUBT]
    assert list(queries.desired(place)) == []

    adapters.restore(release=release, by=maintainer, reason="seen")

    assert list(queries.desired(place)) == [release]


def test_the_operators_commands_say_and_do_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = making.library()
    release = making.ready(making.user(), place)
    (tmp_path / "rows.jsonl").write_bytes(b"{}\n")

    call_command("review_gates", "ada/poetry")
    making.gate(release, source="brought", held=True)
    call_command("review_gates", "ada/poetry")
    call_command("review_gates", "ada/poetry", "--let-in", "1")
    call_command("collector_rows", place.slug, str(tmp_path / "rows.jsonl"))
    call_command("train_gates", place.slug, "--prefer", "brought,collector")
    call_command("train_gates", place.slug)
    call_command("collector_rows", place.slug, "--delete")

    said = capsys.readouterr().out
    assert "ada/poetry #1 has no gates" in said
    assert "gates 1, brought: held" in said
    assert "0.97 of neutral text; expected at most 0.30" in said
    assert "gates 1, brought: admitted, in use" in said
    assert "1 rows, sha256 " in said
    assert "asked for gates of 1 experts" in said
    assert "gates are used of brought, collector" in said
    assert "the rows are forgotten" in said
    assert (tmp_path / "rows.jsonl").exists()


def test_a_library_says_whether_gates_are_trained() -> None:
    place = making.library()

    libraries.change_gate_training(library=place, wanted=True)

    place.refresh_from_db()
    assert place.train_gates
