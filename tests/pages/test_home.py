"""The first page: what each library is, and how well it answers, without looking at every adapter."""

import pytest
from django.test import Client

from hub.library.models import Library
from tests.hub import making
from tests.pages import content
from tests.pages.content import Content
from tests.pages.learnt import add_what_is_learnt
from tests.pages.test_what_pages_say import text


@pytest.mark.django_db
def test_a_card_says_base_experts_version_and_that_nobody_measured_it(made: Content) -> None:
    page = text(Client(), "/")

    assert "Base demo-base" in page
    assert "Serves version 5" in page
    assert "No version was evaluated yet." in page


@pytest.mark.django_db
def test_a_card_draws_the_policy_s_score_over_versions_of_the_suite_that_was_sent_last(made: Content) -> None:
    add_what_is_learnt(made)

    page = Client().get("/").content.decode()

    assert "Score over versions: from 0.530 at version 2 to 0.710 at version 6" in page
    assert page.count("<polyline") == 1


@pytest.mark.django_db
def test_what_is_private_is_neither_counted_nor_the_last_contribution() -> None:
    ada, library = making.user("ada"), content.found_library()
    making.upload(ada, library, "secret", content.files("secret"), private=True)

    page = text(Client(), "/")

    assert "0 of 0 adapters" in page
    assert "Last contribution none yet" in page


@pytest.mark.django_db
def test_many_libraries_come_in_pages() -> None:
    Library.objects.bulk_create(
        Library(slug=f"l-{number:02}", name=f"Library {number:02}", base_source="/srv/b")
        for number in range(30)
    )

    first, second = text(Client(), "/"), text(Client(), "/?page=2")

    assert "Library 00" in first
    assert "Library 29" not in first
    assert "Library 29" in second
