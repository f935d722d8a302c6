"""The pages of an organisation: founded, people invited, joined, changed and left, each by whom it is for."""

import pytest

from hub.accounts import organisations
from hub.accounts.models import Membership, User
from tests.hub import making
from tests.pages.conftest import seen_by

pytestmark = pytest.mark.django_db
LAB = "/settings/organisations/rhyme-lab"


@pytest.fixture
def ada(db: None) -> User:
    return making.user("ada")


@pytest.fixture
def lab(ada: User) -> User:
    return organisations.found(name="rhyme-lab", by=ada)


def test_from_founding_to_leaving() -> None:
    ada, bob = making.user("ada"), making.user("bob")
    hers, his = seen_by(ada), seen_by(bob)

    hers.post("/settings/organisations", {"name": "Rhyme-Lab"})
    hers.post(f"{LAB}/invite", {"user": "bob", "role": "member"})
    asked = his.get("/settings/organisations").content.decode()
    before = his.get(LAB).status_code
    his.post(f"{LAB}/accept")
    hers.post(f"{LAB}/change", {"user": "bob", "role": "owner"})
    left = hers.post(f"{LAB}/leave")
    profile = his.get("/rhyme-lab").content.decode()

    assert "ada invites you as member" in asked
    assert before == 403
    assert left["Location"] == "/settings/organisations"
    assert "An organisation, here since" in profile
    assert list(Membership.objects.values_list("user__username", "role")) == [("bob", "owner")]
    assert "is the only owner" in his.post(f"{LAB}/leave", follow=True).content.decode()


@pytest.mark.parametrize("action", ["invite", "change", "remove"])
def test_only_owners_decide_who_belongs_to_it(ada: User, lab: User, action: str) -> None:
    bob = making.user("bob")
    organisations.invite(organisation=lab, user=bob, role="maintainer", by=ada)
    organisations.accept(organisation=lab, user=bob)

    answer = seen_by(bob).post(f"{LAB}/{action}", {"user": "ada", "role": "member"})

    assert answer.status_code == 403
    assert lab.members.get(user=ada).role == "owner"


def test_a_bad_name_is_said_beside_the_field(ada: User) -> None:
    page = seen_by(ada).post("/settings/organisations", {"name": "desk"}).content.decode()

    assert "The name &#x27;desk&#x27; is reserved" in page


def test_its_private_adapters_are_on_its_page_for_its_people_alone(ada: User, lab: User) -> None:
    making.upload(lab, making.library(), "secret-verse", private=True, by=ada)

    hers, others = (seen_by(who).get("/rhyme-lab").content.decode() for who in (ada, making.user("eve")))

    assert "secret-verse" in hers
    assert "secret-verse" not in others
