"""The API's documentation is drawn in the visitor's look, by scripts and sheets of this hub alone."""

import re
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect
from pytest_django.live_server_helper import LiveServer

from tests.pages.browser import CHROMIUM
from tests.pages.visiting import visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no Chromium at {CHROMIUM}"),
]
PATIENCE = 60_000  # milliseconds: its script weighs more than all of ours
TELEPHONE: ViewportSize = {"width": 390, "height": 844}


def brightness(page: Page, place: str, of: Literal["color", "backgroundColor"]) -> float:
    """From 0, black, to 255, of what is drawn."""
    said = page.locator(place).first.evaluate("(element, name) => getComputedStyle(element)[name]", of)
    red, green, blue = (int(number) for number in re.findall(r"\d+", said)[:3])
    return (red + green + blue) / 3


def test_it_is_dark_where_the_visitor_wants_that_and_follows(
    browser: Browser, live_server: LiveServer
) -> None:
    watched = visit(browser, live_server, color_scheme="dark", viewport=TELEPHONE)
    watched.page.set_default_timeout(PATIENCE)
    page = watched.open("/api/v1/docs")
    expect(page.locator(".opblock").first).to_be_visible(timeout=PATIENCE)

    dark = [brightness(page, place, "color") for place in (".title", ".opblock-tag", ".opblock-summary-path")]
    ground = brightness(page, "html", "backgroundColor")
    page.emulate_media(color_scheme="light")
    expect(page.locator("html")).not_to_have_class("dark-mode")

    assert ground < 50
    assert min(dark) > 180
    assert brightness(page, ".title", "color") < 100
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert watched.suspicious == []
