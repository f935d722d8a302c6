"""A browser that takes pictures of a hub's pages, so that the same page gives the same picture.

Size, scale, letters, language and time zone are fixed, nothing moves, and moments are said as days.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.management.base import CommandError
from django.test import Client
from playwright.sync_api import Browser, FloatRect, Page, sync_playwright

from demo.pictures.album import WIDTH, Picture
from demo.show.people import Person
from hub.accounts.models import User

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--font-render-hinting=none"]
PATIENCE = 120_000  # milliseconds: the hub's own work may keep the machine busy
TALL = 1200  # of the window while a page is used
GAP, NARROW_GAP = 24, 8  # above what a picture begins with, and around what is all of it
LETTERS = """
:root { --sans: "Liberation Sans", "DejaVu Sans", sans-serif; --mono: "Liberation Mono", "DejaVu Sans Mono", monospace }
*, *::before, *::after { transition: none !important; animation: none !important; caret-color: transparent !important }
"""
DAYS = "document.querySelectorAll('time').forEach(one => { one.textContent = 'today' })"


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


def photograph(
    opened: Browser, address: str, picture: Picture, *, scheme: str, person: Person | None
) -> bytes:
    """The picture as a PNG."""
    context = opened.new_context(
        viewport={"width": WIDTH, "height": TALL},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
        bypass_csp=True,  # for the letters below; nothing is fetched from elsewhere
    )
    context.set_default_timeout(PATIENCE)
    try:
        if person is not None:
            name, value = settings.SESSION_COOKIE_NAME, session_of(person)
            context.add_cookies([{"name": name, "value": value, "url": address}])
        page = context.new_page()
        answer = page.goto(address + picture.path)
        if answer is None or not answer.ok:
            raise CommandError(
                f"{picture.name}: {picture.path} answered {answer and answer.status}; expected a page"
            )
        page.add_style_tag(content=LETTERS)
        picture.act(page)
        page.add_style_tag(content=LETTERS)  # what was done may have led to another page
        page.evaluate(DAYS)
        page.mouse.move(0, 0)
        return page.screenshot(full_page=True, clip=_frame(page, picture), type="png")
    finally:
        context.close()


def session_of(person: Person) -> str:
    """The value of a session cookie, without the form."""
    client = Client()
    client.force_login(User.objects.get(username=person.name))
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def _frame(page: Page, picture: Picture) -> FloatRect:
    """As high as wanted, or as what is shown where that is less, from the part with which it begins."""
    if picture.only:
        x, y, width, height = _place(page, picture.only)
        return {
            "x": x - NARROW_GAP,
            "y": y - NARROW_GAP,
            "width": width + 2 * NARROW_GAP,
            "height": min(height + 2 * NARROW_GAP, float(picture.height)),
        }
    whole = float(page.evaluate("document.documentElement.scrollHeight"))
    top = max(0.0, _place(page, picture.top)[1] - GAP) if picture.top else 0.0
    return {"x": 0, "y": top, "width": WIDTH, "height": min(float(picture.height), whole - top)}


def _place(page: Page, selector: str) -> tuple[float, float, float, float]:
    """Of the first such part in the whole page: left, top, width, height."""
    box = page.locator(selector).first.bounding_box()
    if box is None:
        raise CommandError(f"{page.url} shows nothing at {selector}")
    return box["x"], box["y"] + float(page.evaluate("scrollY")), box["width"], box["height"]
