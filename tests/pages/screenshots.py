"""Pictures of every page: `python -m tests.pages.screenshots OUTDIR [PART-OF-NAME ...]`.

Each page narrow to very wide, light and dark, and as it is laid out from right to left, over content in every
state, with ten thousand adapters too; or those whose names have one of the parts, as `map` or `upload-narrow` or
`-rtl`. Nothing else is kept.
"""
# ruff: noqa: E402, T201  Django is set up before its models can be imported; a command talks

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
os.environ["FLETCH_EXPORT_TO"] = "https://huggingface.co,https://other-hub.example"
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Playwright's loop runs in this thread, beside the database

import django

django.setup()

from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.cache import cache
from django.test.runner import DiscoverRunner
from django.test.testcases import LiveServerThread
from django.test.utils import setup_test_environment
from playwright.sync_api import Browser, ConsoleMessage, ViewportSize

from bench import filled_shelves
from hub.accounts.models import User
from hub.clusters.models import Clustering
from hub.indexes.models import IndexMember
from tests.pages import content, pictured
from tests.pages.browser import chromium
from tests.pages.learnt import add_what_is_learnt
from tests.pages.maps_of_many import placements
from tests.pages.odd import add_what_is_odd
from tests.pages.pictured import Looks
from tests.pages.scripted import scripted, spoken, traced
from tests.pages.sessions import session_of
from tests.pages.steps import STEPS, stay

WIDTHS = {"narrow": 390, "middling": 768, "wide": 1280, "widest": 1920}
SCHEMES = ("light", "dark")
FROM_RIGHT_TO_LEFT = "document.documentElement.dir = 'rtl'"
ALSO_FROM_THE_RIGHT = ("narrow", "wide")
WITHOUT_SCRIPTS = "plain-"
MANY = 10_000
PATIENCE = 120_000  # milliseconds for whatever is waited for, on a machine that does other work
ANSWERS = {"play-answered": spoken(), "speakers-read": traced(layers=12)}  # of a serving process


@dataclass(frozen=True)
class Kind:
    """One way to look at a page."""

    size: str
    scheme: str
    rtl: bool = False

    def __str__(self) -> str:
        return f"{self.size}-{self.scheme}{'-rtl' if self.rtl else ''}"


KINDS = (
    *(Kind(size, scheme) for scheme in SCHEMES for size in WIDTHS),
    *(Kind(size, "light", rtl=True) for size in ALSO_FROM_THE_RIGHT),
)


def complain(name: str, message: ConsoleMessage) -> None:
    print(name, message.type, message.text)


def main(folder: Path, wanted: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with served() as address, chromium() as browser:

        def shoot_all(chosen: Looks) -> None:
            for picture, kind, name, (path, visitor) in asked_for(chosen, wanted):
                with around(name):
                    shoot(browser, name, address + path, visitor, kind, folder / f"{picture}.png")

        shoot_all({"empty-home": ("/", None), "empty-browse": ("/adapters", None)})
        made = content.typical()
        content.found_library("bare", name="Bare library")
        content.promote_back(made.library, made.maintainer)
        add_what_is_learnt(made)
        shoot_all(pictured.pages(made))
        odd = add_what_is_odd(made)
        shoot_all(pictured.odd_pages(made, odd))
        if any(asked_for(pictured.many_pages("any/name", "any"), wanted)):
            experts_of(made, placements(made, MANY))
            shelf = filled_shelves.fill(MANY)
            one = next(name for name in shelf.adapters if name.startswith("person-"))
            shoot_all(pictured.many_pages(one, shelf.library))


def experts_of(made: content.Content, found: Clustering) -> None:
    """All that are on the map are experts of the served version."""
    IndexMember.objects.bulk_create(
        IndexMember(library=made.library, release_id=release, since=found.version.number)
        for release in found.placements.values_list("release", flat=True)
    )


def asked_for(chosen: Looks, wanted: list[str]) -> Iterator[tuple[str, Kind, str, tuple[str, User | None]]]:
    """Each picture that is wanted: its name, how and what is looked at."""
    for kind in KINDS:
        for name, look in chosen.items():
            picture = f"{name}-{kind}"
            if not wanted or any(part in picture for part in wanted):
                yield picture, kind, name, look


@contextmanager
def around(name: str) -> Iterator[None]:
    """What else has to be so while a page is looked at."""
    if name in ANSWERS:
        with scripted() as script, mock.patch.object(settings, "SERVING_INTERNAL_URL", script.url):
            script.chunks = ANSWERS[name]
            cache.clear()
            yield
    elif name == "error-ours":
        with mock.patch("hub.pages.condition.parts", side_effect=RuntimeError("looked at on purpose")):
            yield
    else:
        yield
    cache.clear()


def shoot(browser: Browser, name: str, url: str, visitor: User | None, kind: Kind, target: Path) -> None:
    viewport: ViewportSize = {"width": WIDTHS[kind.size], "height": 900}
    context = browser.new_context(
        viewport=viewport,
        color_scheme="dark" if kind.scheme == "dark" else "light",
        java_script_enabled=not name.startswith(WITHOUT_SCRIPTS),
    )
    if visitor:
        context.add_cookies(
            [{"name": "sessionid", "value": session_of(visitor), "domain": "127.0.0.1", "path": "/"}]
        )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.on("console", partial(complain, name))
    page.goto(url)
    if kind.rtl:
        page.evaluate(FROM_RIGHT_TO_LEFT)
    STEPS.get(name, stay)(page)
    if kind.rtl:
        page.evaluate(FROM_RIGHT_TO_LEFT)  # what was done may have led to another page
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        print(f"{name}, {kind}: wider than the window")
    page.screenshot(path=target, full_page=True)
    context.close()


@contextmanager
def served() -> Iterator[str]:
    """The hub on a free port of loopback, over a database that is thrown away."""
    setup_test_environment()
    runner = DiscoverRunner(verbosity=0, interactive=False)
    databases = runner.setup_databases()
    # A connection for each thread: what a page's script asks may overlap with what comes next.
    server = LiveServerThread("127.0.0.1", StaticFilesHandler, connections_override={})
    server.daemon = True
    server.start()
    server.is_ready.wait()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.terminate()
        runner.teardown_databases(databases)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.pages.screenshots", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="OUTDIR", help="where the pictures are put")
    parser.add_argument(
        "wanted", nargs="*", metavar="PART-OF-NAME", help="only pictures whose names have one"
    )
    return parser.parse_args()


if __name__ == "__main__":
    asked = _asked()
    main(asked.folder, asked.wanted)
