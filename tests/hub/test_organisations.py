"""Organisations: who belongs to one, what each role may do with its adapters, and that an owner is always left."""

import hashlib

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client

from hub.accounts import organisations, roles
from hub.accounts import services as accounts
from hub.accounts.models import Membership, User
from hub.accounts.roles import Role
from hub.adapters import access, permissions, quota
from hub.adapters.models import Adapter
from hub.errors import Conflict, Invalid, NotAllowed, NotFound
from hub.library.models import Library
from hub.notifications import queries as notifications
from tests.hub import making
from tests.hub.conftest import api_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def lab(ada: User) -> User:
    return organisations.found(name="Rhyme-Lab", by=ada)


def joined(lab: User, name: str, role: str) -> User:
    user = making.user(name)
    owner = lab.members.filter(role=Role.OWNER).earliest("pk").user
    organisations.invite(organisation=lab, user=user, role=role, by=owner)
    organisations.accept(organisation=lab, user=user)
    return user


def told(user: User) -> list[str]:
    return list(notifications.shown(user).order_by("pk").values_list("title", flat=True))


def test_an_organisation_has_a_name_like_everybody_and_signs_in_nowhere(ada: User, lab: User) -> None:
    browser = Client()

    browser.post("/accounts/login/", {"login": "rhyme-lab", "password": ""})

    assert lab.username == "rhyme-lab"
    assert "_auth_user_id" not in browser.session
    with pytest.raises(Invalid, match="tokens of their own"):
        accounts.issue_token(user=lab, name="x", scopes=["read"])
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=lab.pk).update(is_staff=True)
    for taken in ("ada", "Rhyme-Lab", "desk", "a--b"):
        with pytest.raises(Invalid):
            organisations.found(name=taken, by=ada)
    with pytest.raises(ValidationError):
        User(username="rhyme-lab", password="x").full_clean()


def test_nobody_belongs_to_it_before_they_accept(ada: User, lab: User) -> None:
    bob = making.user("bob")
    organisations.invite(organisation=lab, user=bob, role="owner", by=ada)

    assert not roles.holds(bob, lab, Role.MEMBER)
    organisations.accept(organisation=lab, user=bob)

    assert roles.holds(bob, lab, Role.OWNER)
    assert told(bob) == ["ada invites you to rhyme-lab"]
    assert told(ada) == ["bob joined rhyme-lab"]
    with pytest.raises(NotFound):
        organisations.accept(organisation=lab, user=bob)
    with pytest.raises(Conflict, match="already"):
        organisations.invite(organisation=lab, user=bob, role="member", by=ada)


def test_an_owner_is_always_left(ada: User, lab: User) -> None:
    for act in (
        lambda: organisations.remove(organisation=lab, user=ada, by=ada),
        lambda: organisations.change_role(organisation=lab, user=ada, role="member", by=ada),
    ):
        with pytest.raises(Conflict, match="only owner"):
            act()
    invited = making.user("bob")
    organisations.invite(organisation=lab, user=invited, role="owner", by=ada)
    with pytest.raises(Conflict, match="only owner"):  # whoever was only invited decides nothing yet
        organisations.remove(organisation=lab, user=ada, by=ada)
    organisations.accept(organisation=lab, user=invited)

    organisations.remove(organisation=lab, user=ada, by=ada)

    assert list(Membership.objects.values_list("user__username", flat=True)) == ["bob"]


@pytest.mark.parametrize(
    ("role", "sees", "writes"),
    [("member", True, False), ("maintainer", True, True), ("owner", True, True), (None, False, False)],
)
def test_a_role_says_what_one_may_do_with_its_private_adapters(
    ada: User, lab: User, role: str | None, *, sees: bool, writes: bool
) -> None:
    library = making.library()
    adapter = making.upload(lab, library, private=True, by=ada).adapter
    bob = joined(lab, "bob", role) if role else making.user("bob")

    assert permissions.visible_adapters(bob).contains(adapter) == sees
    assert permissions.readable_adapters(bob).contains(adapter) == sees
    assert permissions.heard_adapters(bob).contains(adapter) == sees
    assert permissions.may_hear(bob, adapter) == sees
    assert permissions.may_write(bob, adapter) == writes


def test_an_upload_is_the_organisation_s_and_says_who_made_it(ada: User, lab: User) -> None:
    library = making.library()
    bob = joined(lab, "bob", "maintainer")

    release = making.upload(lab, library, by=bob)
    making.accept(release)

    assert release.adapter.full_name == "rhyme-lab/poetry"
    assert release.commit.author == bob
    assert quota.storage_of(lab).used > 0 == quota.storage_of(bob).used
    for one in (ada, bob):
        assert "Release 1 of rhyme-lab/poetry is ready" in told(one)


def form() -> dict[str, object]:
    """An upload for the organisation."""
    return {"owner": "rhyme-lab", "files": [making.form_file(*one) for one in making.PLAIN.items()]}


def test_the_json_api_uploads_for_those_whose_role_is_enough(ada: User, lab: User, db: None) -> None:
    library = making.library()
    bob = joined(lab, "bob", "member")
    path = f"/libraries/{library.slug}/adapters/poetry/releases"

    refused = api_of(bob).send(path, form())
    organisations.change_role(organisation=lab, user=bob, role="maintainer", by=ada)
    made = api_of(bob).send(path, form())

    assert refused.status_code == 403
    assert made.status_code == 202, made.json()
    assert Adapter.objects.get().owner == lab
    assert api_of(bob).get("/whoami").json()["organisations"] == {"rhyme-lab": "maintainer"}


def test_its_pieces_are_sent_and_assembled_by_those_whose_role_is_enough(ada: User, lab: User) -> None:
    making.library()
    bob = joined(lab, "bob", "maintainer")
    User.objects.filter(pk=bob.pk).update(quota_bytes=1)
    api, owned = api_of(bob), {"owner": "rhyme-lab"}
    tree = [{"path": path, "sha256": hashlib.sha256(data).hexdigest()} for path, data in making.PLAIN.items()]
    assembled = "/libraries/tiny/adapters/poetry/releases/assembled"

    def sent(data: bytes, owner: str) -> int:
        where = f"/api/v1/uploads/{hashlib.sha256(data).hexdigest()}?offset=0&size={len(data)}&owner={owner}"
        kind = "application/octet-stream"
        return api.client.patch(where, data, content_type=kind, headers=api.headers).status_code

    on_his_own = [sent(data, "") for data in making.PLAIN.values()]
    on_its = [sent(data, "rhyme-lab") for data in making.PLAIN.values()]
    organisations.change_role(organisation=lab, user=bob, role="member", by=ada)
    refused = api.post(assembled, {"files": tree, **owned}).status_code, sent(b"more", "rhyme-lab")
    organisations.change_role(organisation=lab, user=bob, role="maintainer", by=ada)
    made = api.post(assembled, {"files": tree, **owned})
    known = api.get(f"/uploads/{tree[0]['sha256']}?owner=rhyme-lab").json()

    assert (on_his_own, on_its, refused) == ([413, 413], [200, 200], (403, 403))
    assert made.json()["adapter"] == "rhyme-lab/poetry", made.content
    assert known["complete"]
    assert api.get("/organisations/rhyme-lab").json() == {
        "name": "rhyme-lab",
        "role": "maintainer",
        "storage": {"used": sum(map(len, making.PLAIN.values())), "quota": quota.quota_of(lab)},
    }
    assert api_of(making.user("eve")).get("/organisations/rhyme-lab").status_code == 403


def test_a_role_that_is_withdrawn_while_files_are_kept_makes_no_release(ada: User, lab: User) -> None:
    place, bob = making.library(), joined(lab, "bob", "member")

    with pytest.raises(NotAllowed, match="is not yours to upload to"):
        making.upload(lab, place, by=bob)

    assert not Adapter.objects.exists()


def test_only_people_are_let_in_and_none_who_is_in(ada: User, lab: User) -> None:
    adapter = making.upload(lab, making.library(), private=True, by=ada).adapter

    with pytest.raises(NotFound):
        access.person("rhyme-lab")
    with pytest.raises(Invalid, match="already"):
        access.invite(adapter=adapter, user=ada)
    with pytest.raises(NotAllowed):
        roles.namespace(making.user("eve"), "rhyme-lab")


@pytest.fixture
def library(db: None) -> Library:
    return making.library()
