"""Pictures of every page: `python -m tests.pages.screenshots OUTDIR [PART-OF-NAME ...]`.

Each page narrow to very wide, light and dark, and as it is laid out from right to left, over content in every
state; or those whose names have one of the parts, as `map` or `upload-narrow` or `-rtl`. Nothing else is kept.
"""
# ruff: noqa: E402, T201  Django is set up before its models can be imported; a command talks

import argparse
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
os.environ["FLETCH_EXPORT_TO"] = "https://huggingface.co,https://other-hub.example"
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Playwright's loop runs in this thread, beside the database

import django

django.setup()

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.test.runner import DiscoverRunner
from django.test.testcases import LiveServerThread
from django.test.utils import setup_test_environment
from playwright.sync_api import Browser, ConsoleMessage, FilePayload, Page, ViewportSize

from hub.ablations.models import Ablation
from hub.accounts import devices
from hub.accounts.models import User
from hub.adapters.models import Release
from hub.evaluations.models import Evaluation
from tests.pages import content
from tests.pages.browser import chromium
from tests.pages.learnt import add_what_is_learnt
from tests.pages.sessions import session_of

WIDTHS = {"narrow": 390, "middling": 768, "wide": 1280, "widest": 1920}
SCHEMES = ("light", "dark")
FROM_RIGHT_TO_LEFT = "document.documentElement.dir = 'rtl'"
ALSO_FROM_THE_RIGHT = ("narrow", "wide")


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


def account_pages(made: content.Content) -> dict[str, tuple[str, User | None]]:
    """The same for people and their settings."""
    ada = made.contributor
    return {
        "profile": ("/ada", None),
        "profile-empty": ("/dora", made.newcomer),
        "tokens": ("/settings/tokens", ada),
        "device-code": ("/settings/device?code=BCDF-GHJK", ada),
        "device": (
            f"/settings/device?code={devices.ask('huggingface_hub/2.4.0', address='192.0.2.1').user_code}",
            ada,
        ),
        "notifications": ("/notifications", ada),
        "notifications-empty": ("/notifications", made.newcomer),
        "notification-settings": ("/settings/notifications", ada),
        "desk": ("/desk", made.maintainer),
        "desk-staff": ("/desk", made.staff),
        "desk-reports": ("/desk/reports", made.maintainer),
        "desk-people": ("/desk/people", made.staff),
        "desk-jobs": ("/desk/jobs", made.staff),
        "desk-jobs-failed": ("/desk/jobs?state=failed", made.staff),
        "report-form": (f"/{made.ready.adapter.full_name}/report", ada),
        "organisations": ("/settings/organisations", ada),
        "organisation": ("/settings/organisations/rhymes", ada),
        "organisation-profile": ("/rhymes", ada),
        "second-factor": ("/accounts/2fa/", ada),
        "reauthenticate": ("/accounts/reauthenticate/", ada),
        "tokens-empty": ("/settings/tokens", made.newcomer),
        "sign-in": ("/accounts/login/", None),
        "sign-up": ("/accounts/signup/", None),
        "password": ("/accounts/password/change/", ada),
        "password-reset": ("/accounts/password/reset/", None),
        "email": ("/accounts/email/", ada),
    }


def contribution_pages(made: content.Content) -> dict[str, tuple[str, User | None]]:
    """The same of what each expert contributes, in every state of a measurement."""
    found = Ablation.objects.order_by("-pk").select_related("version__library")
    newest, before = found[0].version, f"/libraries/{made.library.slug}/versions/3/contributions"
    page = f"/libraries/{made.library.slug}/versions/{newest.number}/contributions"
    states = {run.state: run.pk for run in found if run.version_id == newest.pk}
    return {
        "contributions-stale": (before, None),
        "contributions-stale-maintainer": (before, made.maintainer),
        **{f"contributions-{state}": (f"{page}?run={run}", made.maintainer) for state, run in states.items()},
        "contributions-empty": (f"/libraries/{made.library.slug}/versions/1/contributions", None),
    }


def library_pages(made: content.Content) -> dict[str, tuple[str, User | None]]:
    """The same of one library and what goes out of it."""
    slug, ada, cleo = made.library.slug, made.contributor, made.maintainer
    return {
        "versions": (f"/libraries/{slug}/versions", cleo),
        "board": (f"/libraries/{slug}/evaluations", None),
        "board-empty": ("/libraries/bare/evaluations", None),
        "evaluation": (evaluation_at(made), None),
        "evaluation-member": (f"{evaluation_at(made)}?member=all", None),
        "questions": (f"{evaluation_at(made)}/questions?member=all", None),
        "questions-maintainer": (f"{evaluation_at(made)}/questions?member=all&way=arrow", made.maintainer),
        "questions-none": (f"{evaluation_at(made)}/questions?member=all&only=wrong&way=retrieval", None),
        **contribution_pages(made),
        "speakers": (f"/libraries/{slug}/speakers", ada),
        "map": (f"/libraries/{slug}/map", None),
        "map-cluster": (f"/libraries/{slug}/map?cluster=1", None),
        "map-empty": ("/libraries/bare/map", None),
        "decisions": (f"/libraries/{slug}/decisions", None),
        "versions-empty": ("/libraries/bare/versions", None),
        "checkpoints": (f"/libraries/{slug}/checkpoints", ada),
        "builder": (f"/libraries/{slug}/checkpoints/new", ada),
        "builder-adapter": (
            f"/libraries/{slug}/checkpoints/new?version=3&kind=adapter&rank=64&method=ties&experts=ada/haiku&experts=bob/poetry",
            ada,
        ),
        "builder-merged": (f"/libraries/{slug}/checkpoints/new?version=3&kind=merged&bits=4", ada),
        "builder-wrong": (f"/libraries/{slug}/checkpoints/new?version=3&kind=routed&router=phatgoose", None),
        "builder-empty": ("/libraries/bare/checkpoints/new", None),
        "checkpoints-anonymous": ("/libraries/bare/checkpoints", None),
        "checkpoint": (f"/checkpoints/{made.checkpoint.pk}", None),
        "checkpoint-maintainer": (f"/checkpoints/{made.checkpoint.pk}", cleo),
        "checkpoint-composing": (f"/checkpoints/{made.composing.pk}", None),
    }


def pages(made: content.Content) -> dict[str, tuple[str, User | None]]:
    """Name of the picture -> address and who looks."""

    def at(release: Release) -> str:
        return f"/{release.adapter.full_name}"

    second = Release.objects.get(adapter__name="poetry", number=2)
    slug, ada, cleo = made.library.slug, made.contributor, made.maintainer
    return {
        "home": ("/", None),
        "library": (f"/libraries/{slug}", None),
        "browse": ("/adapters", None),
        "browse-narrowed": ("/adapters?q=poe&status=ready&owner=bob", None),
        "browse-owner": ("/adapters?sort=name", ada),
        "browse-nothing": ("/adapters?q=poetry+zebra&kind=lora&rank=65-", None),
        "browse-refused": ("/adapters?sort=oldest", None),
        "browse-filters": ("/adapters?status=ready&status=rejected", None),
        "library-empty": ("/libraries/bare", ada),
        "adapter": (at(made.ready), None),
        "adapter-owner": (at(made.ready), ada),
        "adapter-long": (at(made.long), None),
        "adapter-rejected": (at(made.rejected), ada),
        "adapter-waiting": (at(made.waiting), ada),
        "adapter-running": (at(made.running), None),
        "adapter-private": (at(made.private), ada),
        "adapter-quarantined": (at(made.quarantined), None),
        "release-maintainer": (f"{at(made.ready)}/releases/{made.ready.oid}", cleo),
        "mend": (f"{at(made.rejected)}/releases/{made.rejected.oid}/mend", ada),
        "status": ("/status", None),
        "changes": (f"{at(second)}/releases/{second.oid}/changes", None),
        "file": (f"{at(made.ready)}/releases/{made.ready.oid}/files/adapter_model.safetensors", None),
        "file-text": (f"{at(made.ready)}/releases/{made.ready.oid}/files/README.md", None),
        "upload-start": ("/upload", ada),
        "upload": (f"/libraries/{slug}/upload", ada),
        "play": (f"/libraries/{slug}/play?compare=on&b-who=base", ada),
        "play-empty": ("/libraries/bare/play", None),
        **account_pages(made),
        "not-found": ("/nobody/nothing", None),
        "tokens-shown": ("/settings/tokens", made.newcomer),
        "upload-refused": (f"/libraries/{slug}/upload", ada),
        "upload-chosen": (f"/libraries/{slug}/upload", ada),
        "sign-in-wrong": ("/accounts/login/", None),
        "forbidden": (f"/libraries/{slug}/versions", cleo),
        "admin": ("/admin/", made.staff),
        **library_pages(made),
    }


def evaluation_at(made: content.Content) -> str:
    newest = Evaluation.objects.filter(suite="bbh").latest("pk")
    return f"/libraries/{made.library.slug}/evaluations/{newest.pk}"


def complain(name: str, message: ConsoleMessage) -> None:
    print(name, message.type, message.text)


def stay(page: Page) -> None:
    """Most pages are looked at as they come."""


def make_token(page: Page) -> None:
    page.locator("#id_name").fill("laptop")
    page.get_by_role("button", name="Make the token").click()


def choose_files(page: Page) -> None:
    files = [
        FilePayload(name="adapter_config.json", mimeType="application/json", buffer=b"{}"),
        FilePayload(
            name="adapter_model.safetensors", mimeType="application/octet-stream", buffer=b"x" * 700_000
        ),
        FilePayload(name="training_args.bin", mimeType="application/octet-stream", buffer=b"x" * 900),
    ]
    page.locator("[data-pick=files]").set_input_files(files)


def send_a_bad_archive(page: Page) -> None:
    folder = Path(tempfile.mkdtemp())
    with zipfile.ZipFile(folder / "bad.zip", "w") as archive:
        archive.writestr("../../etc/passwd", "root")
        archive.writestr("adapter_config.json", "{}")
    page.locator("[data-pick=files]").set_input_files(folder / "bad.zip")
    page.get_by_role("button", name="Next: library").click()
    page.locator("#id_name").fill("limericks")
    page.locator("[data-steps] button").last.click()
    page.locator("[data-send]").click()
    page.locator("[data-refusals] .alert").wait_for()


def sign_in_wrongly(page: Page) -> None:
    page.locator("#id_login").fill("ada")
    page.locator("#id_password").fill("wrong")
    page.locator("main button").click()
    page.locator(".errorlist").first.wait_for()


def open_the_export(page: Page) -> None:
    page.locator("summary", has_text="Push again").click()


def spoil_the_form(page: Page) -> None:
    page.locator("details summary", has_text="this version").first.click()
    page.locator("form.form-row input[name=reason]").first.fill("why not")
    page.evaluate(
        "document.querySelectorAll('[name=csrfmiddlewaretoken]').forEach(field => field.value = 'spoilt')"
    )
    page.locator("form.form-row button").first.click()


def open_the_filters(page: Page) -> None:
    """Where they are not beside the list."""
    button = page.get_by_role("button", name="Filters")
    if button.is_visible():
        button.click()


STEPS: dict[str, Callable[[Page], None]] = {
    "browse-filters": open_the_filters,
    "checkpoint-maintainer": open_the_export,
    "tokens-shown": make_token,
    "upload-chosen": choose_files,
    "upload-refused": send_a_bad_archive,
    "sign-in-wrong": sign_in_wrongly,
    "forbidden": spoil_the_form,
}


def main(folder: Path, wanted: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with served() as address, chromium() as browser:
        empty: dict[str, tuple[str, User | None]] = {
            "empty-home": ("/", None),
            "empty-browse": ("/adapters", None),
        }
        shoot_all(browser, address, folder, empty, wanted)
        made = content.typical()
        content.found_library("bare", name="Bare library")
        content.promote_back(made.library, made.maintainer)
        add_what_is_learnt(made)
        shoot_all(browser, address, folder, pages(made), wanted)


def shoot_all(
    browser: Browser,
    address: str,
    folder: Path,
    chosen: dict[str, tuple[str, User | None]],
    wanted: list[str],
) -> None:
    for kind in KINDS:
        for name, (path, visitor) in chosen.items():
            picture = f"{name}-{kind}"
            if not wanted or any(part in picture for part in wanted):
                shoot(browser, name, address + path, visitor, kind, folder / f"{picture}.png")


def shoot(browser: Browser, name: str, url: str, visitor: User | None, kind: Kind, target: Path) -> None:
    viewport: ViewportSize = {"width": WIDTHS[kind.size], "height": 900}
    context = browser.new_context(
        viewport=viewport, color_scheme="dark" if kind.scheme == "dark" else "light"
    )
    if visitor:
        context.add_cookies(
            [{"name": "sessionid", "value": session_of(visitor), "domain": "127.0.0.1", "path": "/"}]
        )
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
