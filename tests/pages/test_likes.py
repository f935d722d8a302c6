"""Liking an adapter from its page."""

from django.test import Client

from hub.adapters.models import Like
from tests.hub import making
from tests.pages.conftest import seen_by


def test_a_person_likes_an_adapter_once_and_may_take_it_back(db: None) -> None:
    ada, bob = making.user("ada"), making.user("bob")
    making.upload(ada, making.library())
    client = seen_by(bob)

    for _twice in range(2):
        client.post("/ada/poetry/like", {"liked": "yes"})
    liked = client.get("/ada/poetry").content.decode()
    seen = Client().get("/ada/poetry").content.decode()
    client.post("/ada/poetry/like", {"liked": "no"})

    assert 'aria-pressed="true"' in liked
    assert "/accounts/login/?next=/ada/poetry" in seen
    assert '1<span class="unseen"> like so far' in seen
    assert Like.objects.count() == 0


def test_who_is_not_signed_in_is_asked_to(db: None) -> None:
    making.upload(making.user("ada"), making.library())

    answer = Client().post("/ada/poetry/like", {"liked": "yes"})

    assert answer.status_code == 302
    assert answer["Location"].startswith("/accounts/login/")


def test_a_private_adapter_is_liked_by_nobody_who_may_not_know_of_it(db: None) -> None:
    making.upload(making.user("ada"), making.library(), private=True)

    assert seen_by(making.user("bob")).post("/ada/poetry/like", {"liked": "yes"}).status_code == 404
