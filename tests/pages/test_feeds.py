"""What programs follow: feeds, robots.txt and the sitemap, of what everybody may know and nothing else."""

import xml.etree.ElementTree as ET

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.adapters import services as adapters
from tests.hub import making
from tests.pages import content
from tests.pages.content import Content

ATOM = "{http://www.w3.org/2005/Atom}"
MAP = "{http://www.sitemaps.org/schemas/sitemap/0.9}"


def tree(path: str) -> ET.Element:
    answer = Client().get(path)
    assert answer.status_code == 200
    return ET.fromstring(answer.content)


def titles(path: str) -> list[str]:
    return [entry.findtext(f"{ATOM}title", "") for entry in tree(path).iter(f"{ATOM}entry")]


def test_a_feed_tells_of_new_experts_and_new_versions_newest_first(made: Content) -> None:
    feed = tree("/feed")
    said = titles("/feed")
    updated = [entry.findtext(f"{ATOM}updated", "") for entry in feed.iter(f"{ATOM}entry")]

    assert "bob/poetry, release 2, is an expert of Demo tasks" in said
    assert any(title.startswith("Demo tasks answers by version") for title in said)
    assert updated == sorted(updated, reverse=True)
    assert titles(f"/libraries/{made.library.slug}/feed") == said
    ids = [entry.findtext(f"{ATOM}id") for entry in feed.iter(f"{ATOM}entry")]
    assert len(set(ids)) == len(ids)


def test_what_is_private_withdrawn_or_held_back_is_in_no_feed_and_no_map(made: Content) -> None:
    adapters.yank(release=made.ready, by=made.contributor, reason="a mistake")

    said = " ".join(titles("/feed"))
    listed = Client().get("/sitemap-adapters.xml").content.decode()

    for release in (made.private, made.quarantined, made.rejected, made.ready):
        assert release.adapter.full_name not in said
    assert made.private.adapter.full_name not in listed
    assert made.long.adapter.full_name in listed


def test_a_library_has_a_feed_of_its_own(made: Content) -> None:
    content.found_library("bare", name="Bare library")

    assert titles("/libraries/bare/feed") == []
    assert Client().get("/libraries/unknown/feed").status_code == 404


def test_robots_are_led_to_a_map_of_maps(made: Content) -> None:
    robots = Client().get("/robots.txt").content.decode()
    maps = [place.text or "" for place in tree("/sitemap.xml").iter(f"{MAP}loc")]
    pages = [place.text or "" for place in tree("/sitemap-libraries.xml").iter(f"{MAP}loc")]

    assert "Sitemap: http://testserver/sitemap.xml" in robots
    assert "Disallow: /settings/" in robots
    assert maps == [f"http://testserver/sitemap-{name}.xml" for name in ("pages", "libraries", "adapters")]
    assert pages == [f"http://testserver/libraries/{made.library.slug}"]


@pytest.mark.parametrize("path", ["/feed", "/sitemap.xml", "/sitemap-adapters.xml"])
def test_they_ask_the_database_a_few_questions(made: Content, path: str) -> None:
    with CaptureQueriesContext(connection) as captured:
        Client().get(path)

    assert len(captured) <= 3


def test_a_shared_link_shows_what_the_card_says(db: None) -> None:
    ada = making.user("ada")
    content.ready(ada, content.found_library(), "haiku", card='# Haiku\n\nWrites "haiku" & nothing else.\n')

    page = Client().get("/ada/haiku").content.decode()

    assert '<meta property="og:title" content="ada/haiku">' in page
    assert '<meta property="og:description" content="Writes &quot;haiku&quot; &amp; nothing else.">' in page
