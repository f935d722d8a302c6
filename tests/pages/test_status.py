"""The page that says how the hub's parts are: in a word each, and never with a secret."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from hub.jobs import services as jobs
from hub.jobs.models import Job
from hub.playground import serving as door
from tests.hub import making, meant
from tests.pages.content import Content


@pytest.fixture(autouse=True)
def serving(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the serving process says; nothing where it is empty."""
    said: dict[str, Any] = {}
    cache.clear()
    monkeypatch.setattr(door, "_asked", lambda: said or door.UNREACHED)
    return said


def page() -> str:
    cache.clear()
    answer = Client().get("/status")
    assert answer.status_code == 200
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split()))


def test_a_hub_whose_parts_all_work_says_so(made: Content, serving: dict[str, Any]) -> None:
    assert made.library.current is not None
    number = made.library.current.number
    Job.objects.update(not_before=timezone.now())  # what there is may have been made minutes ago
    serving |= {
        "status": "ready",
        "libraries": [{"library": made.library.slug, "version": number, "ready": True}],
    }

    said = page()

    assert "Everything works" in said
    assert f"{made.library.name} version {number}" in said


def test_a_serving_process_that_is_behind_or_away_is_told(made: Content, serving: dict[str, Any]) -> None:
    assert "Served models Not reached" in page()

    serving |= {"status": "ready", "libraries": [{"library": made.library.slug, "version": 1}]}
    said = page()

    assert "Not everything works" in said
    assert "version 1; version" in said
    assert "is wanted" in said


@pytest.mark.parametrize("nonsense", [{"libraries": 5}, {"libraries": [7, {"library": []}]}, {"status": {}}])
def test_whatever_answers_at_that_address_breaks_nothing(
    made: Content, serving: dict[str, Any], nonsense: dict[str, Any]
) -> None:
    serving |= nonsense

    assert "Not all as wanted" in page()


def test_how_far_cards_are_read_for_the_search_by_meaning_is_told(db: None, settings: Settings) -> None:
    place, ada = making.library(), making.user("ada")
    assert "Search by meaning Off" in page()
    settings.SEARCH_ENCODER = meant.ENCODER
    making.upload(ada, place, "poetry")
    making.upload(ada, place, "sums")

    assert "Search by meaning Reading Encoder tiny, not loaded yet Cards read 0 Cards waiting 2" in page()

    meant.read(meant.table(), {"poetry": (0, 1, 0)})
    assert "Search by meaning Reading Encoder tiny Cards read 1 Cards waiting 1" in page()

    jobs.fail(meant.claimed(), "CannotBeDone: /encoders/tiny")
    said = page()
    assert "Search by meaning Reading failed" in said
    assert "/encoders" not in said


def test_work_that_nobody_takes_is_told(db: None) -> None:
    making.library()
    making.upload(making.user("ada"), making.library("other"))
    assert "Workers Fine" in page()

    Job.objects.update(not_before=timezone.now() - timedelta(minutes=10))

    assert "Workers Nobody takes work Waiting 1" in page()
