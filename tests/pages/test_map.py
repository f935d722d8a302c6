"""The map of experts: who lies where is drawn, named, and in a table; nobody sees a name that is not for them."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.adapters.models import Adapter
from hub.pages import labels
from tests.pages import maps_of_many
from tests.pages.content import Content
from tests.pages.learnt import add_what_is_learnt
from tests.pages.test_what_pages_say import text

DOT = re.compile(r'<a class="series-(\d)" href="([^"]+)"( tabindex="-1")?><circle')


@pytest.fixture
def learnt(made: Content) -> Content:
    add_what_is_learnt(made)
    return made


def test_every_expert_is_a_link_with_its_name_and_in_the_table(learnt: Content) -> None:
    page = Client().get("/libraries/demo/map").content.decode()
    words = text(Client(), "/libraries/demo/map")

    assert "/bob/poetry" in [path for _, path, _ in DOT.findall(page)]
    assert len(DOT.findall(page)) == 9
    assert re.search(r"bob/poetry \d \w+/[\w-]+ 0\.\d{3}", words)


def test_a_cluster_is_looked_at_alone_with_the_others_unnamed(learnt: Content) -> None:
    page = Client().get("/libraries/demo/map?cluster=1").content.decode()

    assert {colour for colour, _, _ in DOT.findall(page)} == {"2"}
    assert page.count('class="crowd series-0"') == 1
    assert page.count('<th scope="row">') == len(DOT.findall(page)) == 3


def test_names_stand_where_they_cover_nothing_and_wait_to_be_asked_for_where_they_would() -> None:
    first, second, third, far = labels.beside(
        [(100, 50, "a/one"), (100, 52, "a/two"), (100, 54, "a/three"), (600, 300, "a/four")], width=720
    )

    assert (first.at_left, second.at_left, third.has_room) == (False, True, False)
    assert far.at_left
    assert far.has_room


@pytest.mark.parametrize("cluster", ["7", "x", "-1"])
def test_a_cluster_that_is_not_there_is_not_found(learnt: Content, cluster: str) -> None:
    assert Client().get(f"/libraries/demo/map?cluster={cluster}").status_code == 404


def test_an_expert_that_became_private_has_no_name_on_the_map(learnt: Content) -> None:
    Adapter.objects.filter(name="haiku").update(private=True)

    page = Client().get("/libraries/demo/map").content.decode()

    assert "haiku" not in page
    assert len(DOT.findall(page)) == 8


def test_a_library_that_was_never_compared_says_when_it_will_be(made: Content) -> None:
    assert "No map yet" in text(Client(), "/libraries/demo/map")


def test_however_many_experts_there_are_the_database_is_asked_as_often(learnt: Content) -> None:
    with CaptureQueriesContext(connection) as few:
        Client().get("/libraries/demo/map")
    maps_of_many.placements(learnt, 200)

    with CaptureQueriesContext(connection) as many:
        Client().get("/libraries/demo/map?cluster=3")

    assert len(few) == len(many) <= 8


def test_of_many_experts_a_map_is_small_and_names_one_cluster_at_a_time(made: Content) -> None:
    maps_of_many.placements(made, 2_000)

    whole, one = Client().get("/libraries/demo/map"), Client().get("/libraries/demo/map?cluster=0")

    assert len(whole.content) < 100_000
    assert DOT.findall(whole.content.decode()) == []
    assert "choose a cluster" in whole.content.decode()
    assert len(one.content) < 300_000
