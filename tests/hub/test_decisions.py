"""The audit trail: whoever decides, by page, API or command, is on record with before, after and why."""

import re
from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone

from hub.accounts.models import User
from hub.adapters import gates
from hub.adapters import services as adapters
from hub.adapters.models import Adapter
from hub.decisions.models import Decision
from hub.errors import Conflict
from hub.indexes.models import Promotion
from hub.jobs.models import JobKind
from hub.library import services as libraries
from hub.library.models import Library
from tests.hub import making
from tests.hub.conftest import api_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def place(ada: User) -> Library:
    """Two versions, the second one served."""
    place = making.library(maintainer=ada)
    for name in ("poetry", "prose"):
        making.ready(ada, place, name)
        making.publish(place)
    return place


def trail(client: Client | None = None) -> list[str]:
    """The record as the API says it, the oldest first."""
    answer = (client or Client()).get("/api/v1/libraries/tiny/decisions").json()
    assert answer["count"] == len(answer["items"])
    return [
        f"{one['by']} {one['what']} {one['adapter'] or ''} [{one['before']} > {one['after']}] {one['reason']}"
        for one in reversed(answer["items"])
    ]


def test_promotions_rollbacks_and_what_the_hub_did_itself_are_on_record(ada: User, place: Library) -> None:
    api_of(ada, "admin").post("/libraries/tiny/promote", {"number": 1, "reason": "worse at rhymes"})
    call_command("promote", "tiny", "2", reason="mended")

    assert trail() == [
        "None promoted  [ > version 1] published",
        "None promoted  [version 1 > version 2] published",
        "ada rolled back  [version 2 > version 1] worse at rhymes",
        "None promoted  [version 1 > version 2] mended",
    ]


def test_quarantine_withdrawal_and_restoring_say_how_the_release_stood(ada: User, place: Library) -> None:
    release = Adapter.objects.get(name="prose").releases.get()
    adapters.yank(release=release, by=ada, reason="a mistake")
    call_command("quarantine", "ada/prose", reason="not hers")
    release.refresh_from_db()
    adapters.restore(release=release, by=None, reason="it is hers")

    assert trail()[2:] == [
        "ada yanked ada/prose [ready > withdrawn] a mistake",
        "None quarantined ada/prose [withdrawn > quarantined] not hers",
        "None restored ada/prose [quarantined > ready] it is hers",
    ]


def test_a_decision_about_gates_is_one(ada: User, place: Library) -> None:
    held = making.gate(Adapter.objects.get(name="prose").releases.get(), held=True)

    gates.let_in(gates=held, by=ada, reason="they are fine")

    assert trail()[2:] == ["ada gates let in ada/prose [held > admitted] gates 1 (samples). they are fine"]


def test_how_a_library_is_run_is_on_record_and_what_was_so_already_is_not(ada: User, place: Library) -> None:
    libraries.change_policy(library=place, policy={"top_k": 2, "router": "arrow"}, by=ada, reason="faster")
    libraries.change_policy(library=place, policy={"top_k": 2}, by=ada)
    libraries.change_gate_training(library=place, wanted=True, by=ada)
    libraries.change_gate_sources(library=place, sources=["brought"])
    libraries.change_encoder(library=place, source="/srv/encoders/small", revision="v1", by=ada)
    Client().post("/desk/libraries/tiny", {"review": "yes"})
    desk = Client()
    desk.force_login(ada)
    for review in ("yes", "yes", "no"):
        desk.post("/desk/libraries/tiny", {"review": review, "reason": "too many `bad` ones"})

    assert trail()[2:] == [
        "ada changed  [experts per token: 1 > experts per token: 2] faster",
        "ada changed  [no gates are trained > gates of new experts are trained] ",
        "None changed  [gates of samples, brought > gates of brought] ",
        "ada changed  [prompts read by the base > prompts read by small v1] ",
        "ada changed  [new releases serve without review > each new release waits for review] too many `bad` ones",
        "ada changed  [each new release waits for review > new releases serve without review] too many `bad` ones",
    ]
    assert "too many <code>bad</code> ones" in page_of(desk)
    assert "ada changed how it is run" in " ".join(re.sub("<[^>]+>", "", page_of(desk)).split())


def page_of(client: Client) -> str:
    return client.get("/libraries/tiny/decisions").content.decode()


def test_what_is_changed_in_the_admin_is_on_record_too(ada: User, place: Library) -> None:
    root = making.user("root-user", is_staff=True, is_superuser=True)
    admin = Client()
    admin.force_login(root)
    fields = {"name": "Tiny", "maintainer": "", "encoder_revision": "", "train_gates": "on"}

    answer = admin.post(f"/admin/library/library/{place.pk}/change/", fields)

    assert answer.status_code == 302, answer.content
    before = "new versions serve at once, no gates are trained, maintained by ada"
    after = "new versions wait to be promoted, gates of new experts are trained, maintained by nobody"
    assert trail()[2:] == [f"root-user changed  [{before} > {after}] in the admin"]
    place.refresh_from_db()
    assert place.encoder_settled


def test_another_encoder_named_in_the_admin_is_asked_for_and_on_record(ada: User, place: Library) -> None:
    admin = Client()
    admin.force_login(making.user("root-user", is_staff=True, is_superuser=True))
    fields = {"name": "Tiny", "maintainer": ada.pk, "auto_promote": "on", "encoder_source": "/srv/small"}

    answer = admin.post(f"/admin/library/library/{place.pk}/change/", fields)

    assert answer.status_code == 302, answer.content
    assert trail()[2:] == [
        "root-user changed  [prompts read by the base > prompts read by small] in the admin"
    ]
    place.refresh_from_db()
    assert (place.encoder_source, place.encoder_settled) == ("/srv/small", False)
    assert making.take(JobKind.INTRODUCE).ids == {"library_id": place.pk}


def test_what_became_of_a_private_adapter_is_told_to_its_owner_alone(ada: User, place: Library) -> None:
    secret = making.upload(ada, place, "secret", private=True)
    adapters.yank(release=secret, by=ada, reason="secret reasons")
    owner = Client()
    owner.force_login(ada)

    assert [line for line in trail() if "secret" in line] == []
    assert len([line for line in trail(owner) if "secret" in line]) == 1
    assert b"secret" not in Client().get("/libraries/tiny/decisions").content
    assert b"secret reasons" in owner.get("/libraries/tiny/decisions").content


def test_what_is_on_record_is_neither_changed_nor_removed(place: Library) -> None:
    entry = Decision.objects.latest("pk")

    with pytest.raises(Conflict, match="never changed"):
        entry.save()
    with pytest.raises(Conflict, match="never removed"):
        entry.delete()
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        Decision.objects.update(reason="somebody else's")


def test_it_outlives_the_account_of_whoever_decided(place: Library) -> None:
    bob = making.user("bob", is_staff=True)
    api_of(bob, "admin").post("/libraries/tiny/promote", {"number": 1, "reason": "worse"})
    bob.delete()

    assert trail()[-1] == "None rolled back  [version 2 > version 1] worse"


def test_what_was_decided_before_there_was_a_record_is_put_on_it(ada: User, place: Library) -> None:
    adapters.yank(release=Adapter.objects.get(name="prose").releases.get(), by=ada, reason="a mistake")
    Promotion.objects.filter(version__number=1).update(at=timezone.now() - timedelta(days=2))
    before = trail()
    Decision.objects.all().delete()

    import_module("hub.decisions.migrations.0002_on_record").put_on_record(apps, connection.schema_editor())

    assert trail() == before
