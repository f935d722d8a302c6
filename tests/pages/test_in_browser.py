"""A real Chromium over the real pages: all without scripts, what moves by itself, and what a hostile upload cannot do."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from hub.adapters.models import Release
from hub.exports import services as exports
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from tests.hub import making
from tests.pages import content
from tests.pages.browser import CHROMIUM
from tests.pages.visiting import visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no Chromium at {CHROMIUM}"),
]


def sign_up(page: Page, name: str) -> None:
    page.locator("#id_username").fill(name)
    page.locator("#id_email").fill(f"{name}@example.org")
    page.locator("#id_password1").fill("a long enough secret")
    page.locator("#id_password2").fill("a long enough secret")
    page.locator("main button").click()


def folder_of(place: Path) -> Path:
    folder = place / "my-adapter"
    (folder / "notes").mkdir(parents=True)
    for path, data in content.files("browser").items():
        (folder / path).write_bytes(data)
    (folder / "notes" / "training.md").write_text("three epochs")
    (folder / ".DS_Store").write_bytes(b"litter")
    return folder


def test_the_release_page_follows_the_pipeline_without_being_reloaded(
    browser: Browser, live_server: LiveServer
) -> None:
    ada, library = making.user("ada"), content.found_library()
    release = making.upload(ada, library)
    watched = visit(browser, live_server)
    page = watched.open(f"/ada/poetry/releases/{release.oid}")
    expect(page.locator(".steps")).to_contain_text("Waiting for a worker")

    claim = making.take(JobKind.VALIDATE)
    jobs.report_progress(claim, 3, 9, "tensor number three")
    expect(page.locator(".steps li.running")).to_contain_text("tensor number three")

    jobs.fail(claim, "out of paper")
    expect(page.locator(".steps li.stopped")).to_contain_text("Your upload is kept")
    assert watched.suspicious == []


def test_an_owner_pushes_to_another_hub_and_sees_it_arrive(
    browser: Browser, live_server: LiveServer, settings: Settings
) -> None:
    settings.EXPORT_TO = ("https://other-hub.example",)
    ada = making.user("ada")
    making.ready(ada, making.library())
    watched = visit(browser, live_server, ada)
    page = watched.open("/ada/poetry")

    page.get_by_text("Push to another hub").click()
    page.get_by_label("Repository", exact=True).fill("ada-l/verses")
    page.get_by_label("Token of the other hub").fill("hf_theirs")
    page.get_by_role("button", name="Push").click()
    expect(page.locator(".items", has_text="ada-l/verses").get_by_text("On its way")).to_be_visible()
    claim = making.take(JobKind.EXPORT)
    exports.record_done(claim, claim.ids["export_id"], commit="c" * 40)
    jobs.finish(claim)

    arrived = page.locator(".items li", has_text="Done").get_by_role("link")
    expect(arrived).to_have_attribute("href", f"https://other-hub.example/ada-l/verses/commit/{'c' * 40}")
    assert watched.suspicious == []


def test_everything_from_signing_up_to_the_release_works_without_scripts(
    browser: Browser, live_server: LiveServer, tmp_path: Path
) -> None:
    content.found_library()
    watched = visit(browser, live_server, java_script_enabled=False)
    page = watched.open("/accounts/signup/?next=/libraries/demo/upload")
    sign_up(page, "dora")

    page.locator("#id_name").fill("limericks")
    folder = folder_of(tmp_path)
    page.locator("#id_files").set_input_files([folder / path for path in content.files("browser")])
    page.get_by_role("button", name="Send").click()

    page.wait_for_url("**/dora/limericks/releases/*")
    expect(page.locator(".steps li.done")).to_have_count(1)
    page.locator("header summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    assert Release.objects.count() == 1


def test_a_hostile_upload_acts_nowhere_and_calls_nobody(browser: Browser, live_server: LiveServer) -> None:
    ada, library = making.user("ada"), content.found_library()
    release = content.hostile(ada, library)
    watched = visit(browser, live_server, ada)

    for path in ("/", "/libraries/demo", "/ada", "/ada/hostile", f"/ada/hostile/releases/{release.oid}"):
        watched.open(path).wait_for_load_state("networkidle")

    assert watched.suspicious == []


def test_no_page_breaks_the_policy_or_grows_wider_than_a_phone(
    browser: Browser, live_server: LiveServer
) -> None:
    made = content.typical()
    watched = visit(browser, live_server, made.maintainer, viewport={"width": 390, "height": 844})
    long = made.long.adapter.full_name
    paths = (
        "/", "/libraries/demo", f"/{long}", f"/{long}/releases/{made.long.oid}", f"/{made.rejected.adapter.full_name}", "/libraries/demo/upload",
        "/libraries/demo/versions", "/libraries/demo/checkpoints", f"/checkpoints/{made.checkpoint.pk}", f"/checkpoints/{made.composing.pk}",
        "/ada", "/settings/tokens", "/accounts/email/", "/accounts/password/change/", "/nobody/nothing",
    )  # fmt: skip
    for path in paths:
        page = watched.open(path)
        assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth"), path

    assert watched.suspicious == []


def test_the_keyboard_reaches_the_content_first_and_the_menu_closes_with_escape(
    browser: Browser, live_server: LiveServer
) -> None:
    content.found_library()
    page = visit(browser, live_server, making.user("ada")).open("/libraries/demo")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.locator("header summary").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Settings")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Settings")).to_be_hidden()
    expect(page.locator("header summary")).to_be_focused()
