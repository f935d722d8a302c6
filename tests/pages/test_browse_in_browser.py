"""Results while one types, with the keyboard alone, on a phone, and without any script."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from tests.hub import making, meant
from tests.pages import content
from tests.pages.browser import CHROMIUM
from tests.pages.visiting import visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no Chromium at {CHROMIUM}"),
]
PHONE = {"width": 390, "height": 800}


def shelve() -> None:
    ada, library = making.user("ada"), content.found_library()
    for name in ("poetry", "poems-of-rain", "chess"):
        making.upload(ada, library, name, content.files(name, None))


def hits(page: Page) -> list[str]:
    return page.locator(".hit h3").all_inner_texts()


def test_results_come_while_one_types(browser: Browser, live_server: LiveServer) -> None:
    shelve()
    watched = visit(browser, live_server)
    page = watched.open("/")
    page.keyboard.press("/")
    page.keyboard.type("poe")
    page.keyboard.press("Enter")
    page.wait_for_url("**/adapters?q=poe")
    expect(page.locator(".hit")).to_have_count(2)

    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.type("t")

    expect(page.locator(".hit")).to_have_count(1)
    expect(page).to_have_url(f"{live_server.url}/adapters?q=poet")
    expect(page.get_by_role("status")).to_have_text("1 adapter found")
    expect(page.locator("#q")).to_be_focused()
    page.locator("#q").fill("zebra")
    expect(page.get_by_text("No adapter is all of this")).to_be_visible()
    page.locator("#q").fill("")
    expect(page).to_have_url(f"{live_server.url}/adapters")
    page.get_by_label("Sort by").select_option("Name")
    expect(page).to_have_url(f"{live_server.url}/adapters?sort=name")
    assert hits(page) == ["ada/chess", "ada/poems-of-rain", "ada/poetry"]
    assert watched.suspicious == []


def test_a_switch_puts_the_nearest_in_meaning_first(
    browser: Browser, live_server: LiveServer, settings: Settings
) -> None:
    settings.SEARCH_ENCODER = meant.ENCODER
    shelve()
    meant.read(meant.table(), {"chess": (0, 0, 1), "poetry": (0, 1, 0), "poems-of-rain": (1, 0, 0)})
    watched = visit(browser, live_server)
    page = watched.open("/adapters?q=sums")
    expect(page.get_by_text("No adapter is all of this")).to_be_visible()

    page.get_by_label("By meaning").check()

    expect(page.locator(".hit")).to_have_count(3)
    expect(page).to_have_url(f"{live_server.url}/adapters?q=sums&by=meaning")
    expect(page.get_by_role("status").first).to_have_text("3 adapters, the nearest first")
    assert hits(page)[0] == "ada/chess"
    page.get_by_label("Search adapters").fill("polite letters")
    expect(page).to_have_url(f"{live_server.url}/adapters?q=polite+letters&by=meaning")
    expect(page.locator(".hit h3").first).to_have_text("ada/poems-of-rain")
    assert watched.suspicious == []


def test_without_a_script_the_same_is_found(browser: Browser, live_server: LiveServer) -> None:
    shelve()
    page = visit(browser, live_server, java_script_enabled=False).open("/adapters")

    page.locator("#q").fill("rain")
    page.get_by_role("button", name="Search").click()

    expect(page.locator(".hit")).to_have_count(1)
    assert "q=rain" in page.url


def test_on_a_phone_filters_open_over_the_list_and_close_by_escape(
    browser: Browser, live_server: LiveServer
) -> None:
    shelve()
    content.ready(making.user("bob"), content.found_library("other"), "essays", layers=1)
    watched = visit(browser, live_server, viewport=PHONE)
    page = watched.open("/adapters")
    filters = page.get_by_role("complementary", name="Filters")
    expect(filters).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    page.get_by_role("button", name="Filters").click()
    expect(filters).to_be_visible()
    page.keyboard.press("Escape")
    expect(filters).to_be_hidden()
    page.get_by_role("button", name="Filters").click()
    filters.get_by_role("link", name="bob").click()

    expect(page.locator(".hit")).to_have_count(1)
    assert "owner=bob" in page.url
    assert watched.suspicious == []
